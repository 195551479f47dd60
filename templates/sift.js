// Filters of the browse page: three histograms to brush, and two lists. What they say stays in the address.
"use strict";
(function () {
  var WIDTH = 180, HEIGHT = 36;
  var VERDICTS = { yes: 2, partly: 1, no: 0 };
  function steps(n, value) { return Array.from({ length: n + 1 }, function (_, i) { return value(i); }); }
  function share(edge) { return Math.round(100 * edge) + "%"; }
  // Edges are the same in every atlas, so that a link means the same after the next build.
  var SCALES = [
    { key: "often", words: "How often it fires", edges: steps(24, function (i) { return Math.pow(10, i / 4 - 6); }),
      of: function (table) { return table.density; }, say: function (edge) { return 100 * edge >= 0.1 ? +(100 * edge).toPrecision(2) + "%" : "1 in " + Math.round(1 / edge).toLocaleString("en"); } },
    { key: "alike", words: "How alike its pictures are", edges: steps(20, function (i) { return i / 20; }),
      of: function (_, measures) { return measures.alike; }, say: function (edge) { return edge.toFixed(2); } },
    { key: "sure", words: "Evidence for its name", edges: steps(20, function (i) { return i / 20; }),
      of: function (_, measures) { return measures.sure; }, say: share },
  ];
  function make(name, className, text) {
    var part = document.createElement(name);
    if (className) part.className = className;
    if (text) part.textContent = text;
    return part;
  }
  function bars(className) {
    var path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", className);
    return path;
  }
  // The interval that a value lies in; the ends take what lies beyond them, and -1 stands for no value.
  function binOf(edges, value) {
    var low = 0, high = edges.length - 2;
    if (value < 0) return -1;
    while (low < high) {
      var middle = (low + high + 1) >> 1;
      if (value >= edges[middle]) low = middle; else high = middle - 1;
    }
    return low;
  }
  function nearest(edges, value) {
    return edges.reduce(function (best, edge, i) { return Math.abs(edge - value) < Math.abs(edges[best] - value) ? i : best; }, 0);
  }
  function outline(counts, first, most) {
    var step = WIDTH / counts.length;
    return counts.map(function (count, i) {
      var height = count ? Math.max(1, HEIGHT * Math.sqrt(count / most)) : 0;
      return "M" + (i * step).toFixed(1) + " " + HEIGHT + "v-" + height.toFixed(1) + "h" + (step - 1).toFixed(1) + "v" + height.toFixed(1) + "z";
    }).slice(first).join("");
  }

  // One histogram: n bars between the first and the last that hold anything, and two handles.
  function brush(scale, values, changed) {
    var bins = values.map(function (value) { return binOf(scale.edges, value); });
    var held = bins.filter(function (bin) { return bin >= 0; });
    if (!held.length) return null;
    var first = held.reduce(function (a, b) { return Math.min(a, b); }), last = held.reduce(function (a, b) { return Math.max(a, b); }) + 1;
    var group = make("fieldset", "brush"), output = make("output");
    var chart = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    var all = bars("all"), kept = bars("kept");
    var from = make("input"), to = make("input");
    chart.setAttribute("viewBox", "0 0 " + WIDTH + " " + HEIGHT);
    chart.setAttribute("aria-hidden", "true");
    chart.append(all, kept);
    [[from, "at least", first], [to, "at most", last]].forEach(function (end) {
      end[0].type = "range";
      end[0].min = first;
      end[0].max = last;
      end[0].step = 1;
      end[0].value = end[2];
      end[0].setAttribute("aria-label", scale.words + ", " + end[1]);
    });
    function count(keeps) {
      var counts = new Array(last - first).fill(0);
      bins.forEach(function (bin, i) { if (bin >= 0 && (!keeps || keeps(i))) counts[bin - first]++; });
      return counts;
    }
    var total = count(), most = total.reduce(function (a, b) { return Math.max(a, b); });
    all.setAttribute("d", outline(total, 0, most));
    function whole() { return +from.value === first && +to.value === last; }
    function say() {
      [from, to].forEach(function (end) { end.setAttribute("aria-valuetext", scale.say(scale.edges[+end.value])); });
      output.textContent = whole() ? "any" : scale.say(scale.edges[+from.value]) + " to " + scale.say(scale.edges[+to.value]);
    }
    // The handles stay an interval apart, and neither hides the other.
    function moved(event) {
      if (+from.value >= +to.value) {
        if (event.target === from) from.value = +to.value - 1; else to.value = +from.value + 1;
      }
      from.style.zIndex = +from.value > (first + last) / 2 ? 2 : 1;
      say();
      changed();
    }
    from.addEventListener("input", moved);
    to.addEventListener("input", moved);
    var sliders = make("div", "sliders");
    sliders.append(from, to);
    group.append(make("legend", "", scale.words), chart, sliders, output);
    say();
    return {
      part: group,
      passes: function (i) { return whole() || (bins[i] >= +from.value && bins[i] < +to.value); },
      show: function (keeps) { kept.setAttribute("d", outline(count(keeps), 0, most)); },
      keep: function (said) {
        if (!whole()) said.set(scale.key, [from, to].map(function (end) { return +scale.edges[+end.value].toPrecision(3); }).join("-"));
      },
      recall: function (said) {
        var ends = /^([\d.]+(?:e-\d+)?)-([\d.]+(?:e-\d+)?)$/.exec(said.get(scale.key) || "");
        from.value = ends ? nearest(scale.edges, +ends[1]) : first;
        to.value = ends ? nearest(scale.edges, +ends[2]) : last;
        if (+from.value >= +to.value) { from.value = first; to.value = last; }
        say();
      },
    };
  }

  // One list of choices.
  function choice(key, words, options, passes, changed) {
    var label = make("label", "", words + " "), select = make("select");
    options.forEach(function (option) { select.append(new Option(option[1], option[0])); });
    select.name = key;
    select.addEventListener("change", changed);
    label.append(select);
    return {
      part: label,
      passes: function (i) { return !select.value || passes(i, select.value); },
      show: function () {},
      keep: function (said) { if (select.value) said.set(key, select.value); },
      recall: function (said) {
        var wanted = said.get(key) || "";
        select.value = options.some(function (option) { return option[0] === wanted; }) ? wanted : "";
      },
    };
  }

  // The part of the map that was drawn around there, if the address tells of one: left, top, right, bottom.
  function region(spots, changed) {
    var ends = null, part = make("button", "copy", "all of the map");
    part.type = "button";
    part.addEventListener("click", function () { ends = null; changed(); });
    return {
      part: part,
      passes: function (i) {
        var at = spots();
        return !ends || (at.x[i] >= ends[0] && at.x[i] <= ends[2] && at.y[i] >= ends[1] && at.y[i] <= ends[3]);
      },
      show: function () { part.hidden = !ends; },
      keep: function (said) { if (ends) said.set("within", ends.join("-")); },
      recall: function (said) {
        var found = /^(\d+)-(\d+)-(\d+)-(\d+)$/.exec(said.get("within") || "");
        ends = found ? found.slice(1).map(Number) : null;
      },
    };
  }

  // Fill a box with what can be filtered in this atlas; changed is called whenever one of them is. spots
  // returns the places on the map, which are there whenever the address tells of a part of it.
  window.atlasSift = function (box, table, measures, spots, changed) {
    var parts = SCALES.map(function (scale) { return brush(scale, scale.of(table, measures), changed); });
    if (table.trips) {
      parts.push(choice("icon", "Icon recognized", [["", "any"], ["yes", "yes"], ["partly", "partly"], ["no", "no"]],
        function (i, wanted) { return measures.verdict[i] === VERDICTS[wanted]; }, changed));
    }
    if (measures.families.length) {
      var named = measures.families.map(function (name, i) { return [String(i), name]; });
      named.sort(function (a, b) { return a[1] < b[1] ? -1 : a[1] > b[1] ? 1 : a[0] - b[0]; });
      parts.push(choice("family", "Family", [["", "any"]].concat(named),
        function (i, wanted) { return measures.family[i] === +wanted; }, changed));
    }
    parts = parts.concat(region(spots, changed)).filter(Boolean);
    var clear = make("button", "copy", "clear all");
    clear.type = "button";
    clear.addEventListener("click", function () {
      sift.recall(new URLSearchParams());
      changed();
    });
    box.replaceChildren.apply(box, parts.map(function (part) { return part.part; }).concat(clear));
    var sift = {
      passes: function (i) { return parts.every(function (part) { return part.passes(i); }); },
      // What is left, in each histogram.
      show: function (kept) { parts.forEach(function (part) { part.show(function (i) { return kept.has(i); }); }); },
      keep: function (said) { parts.forEach(function (part) { part.keep(said); }); },
      recall: function (said) { parts.forEach(function (part) { part.recall(said); }); },
    };
    return sift;
  };
  window.atlasSift.keys = SCALES.map(function (scale) { return scale.key; }).concat("icon", "family", "within");
})();
