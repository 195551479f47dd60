// Keys and copying, on every page. Nothing here is needed to read one.
"use strict";
var ICON_COLUMNS = 8, FEATURES_A_GROUP = 16, DENSE = 1.5; // as in assets/icons.css
var BAR_ROOM = 10, BINS_AN_OCTAVE = 4; // as in atlas/site/pages/histogram.py and atlas/base/tables.py
// Where a picture lies, by its address below the site's root: there, or where pictures are published.
window.atlasPicture = function (root, address) {
  return (document.documentElement.dataset.media || root) + "/" + address;
};
// The sheet that the icon of row i is in.
function sheetOf(i) { return Math.floor(i / (ICON_COLUMNS * ICON_COLUMNS)); }
// Where the picture of row i of the table of features lies; empty where there is none.
window.atlasIcon = function (root, table, i) {
  var number = table.icon[i], feature = table.feature[i];
  if (number === -1) return "";
  if (number === -3) return atlasPicture(root, "sheet/icon/" + sheetOf(i) + (table.twice && devicePixelRatio >= DENSE ? "@2x.webp" : ".webp"));
  if (number === -2) return atlasPicture(root, "icon/" + Math.floor(feature / 1000) + "/" + feature + ".webp");
  return atlasPicture(root, "thumb/" + Math.floor(number / 1000) + "/" + number + ".webp");
};
// Its column and row, where that picture is a sheet of many; else nothing.
window.atlasCell = function (table, i) {
  if (table.icon[i] !== -3) return null;
  return [i % ICON_COLUMNS, Math.floor(i / ICON_COLUMNS) % ICON_COLUMNS];
};
// The picture as an element.
window.atlasImage = function (root, table, i) {
  var cell = atlasCell(table, i), image = document.createElement(cell ? "i" : "img");
  if (cell) {
    image.className = "cell s" + sheetOf(i) + " x" + cell[0] + " y" + cell[1];
    return image;
  }
  image.loading = "lazy";
  image.width = image.height = 128;
  image.alt = "";
  image.src = atlasIcon(root, table, i);
  return image;
};
// The page of a feature.
window.atlasPage = function (root, table, feature) {
  if (table.layout !== "groups") return root + "/feature/" + Math.floor(feature / 1000) + "/" + feature + ".html";
  var group = String(Math.floor(feature / FEATURES_A_GROUP));
  return root + "/feature/" + group.padStart(4, "0") + ".html#f" + feature;
};
(function () {
  var find = document.getElementById("find");
  function typing(target) {
    return target.isContentEditable || /^(INPUT|SELECT|TEXTAREA|CANVAS)$/.test(target.tagName);
  }
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    var turn = KEYS[event.key];
    if (event.key === "/") {
      event.preventDefault();
      find.focus();
    } else if (event.key === "?") {
      help();
    } else if (turn) {
      var ways = document.querySelectorAll('a[data-key="' + turn + '"]');
      var shown = Array.from(ways).filter(function (way) { return way.offsetParent; });
      var link = shown.find(function (way) { return way.closest("main"); }) || shown[0];
      if (link) link.click();
    }
  });
  var KEYS = { ArrowLeft: "back", k: "back", ArrowRight: "on", j: "on", g: "map", b: "browse", r: "random" };
  var HELP = [["j, →", "next"], ["k, ←", "previous"], ["/", "search"], ["g", "map"], ["b", "browse"], ["r", "a random feature"], ["?", "these keys"]];
  var sheet = null;
  function help() {
    if (!sheet) {
      sheet = document.createElement("dialog");
      sheet.className = "keys";
      sheet.setAttribute("aria-label", "Keys");
      var list = document.createElement("dl");
      HELP.forEach(function (pair) {
        var key = document.createElement("dt"), does = document.createElement("dd");
        key.textContent = pair[0];
        does.textContent = pair[1];
        list.append(key, does);
      });
      var form = document.createElement("form"), close = document.createElement("button");
      form.method = "dialog";
      close.className = "copy";
      close.textContent = "close";
      form.append(close);
      sheet.append(list, form);
      document.body.append(sheet);
    }
    if (!sheet.open) sheet.showModal();
  }
  // What needs scripts shows where there are some.
  document.querySelectorAll(".random").forEach(function (way) { way.hidden = false; });
  // A strip of doses becomes one picture and a slider; without scripts the strip stays.
  // On a bench one picture shows the knob that was turned last, and the others go back.
  var dials = [];
  document.querySelectorAll(".knob").forEach(function (knob) {
    var cells = knob.querySelectorAll("td"), steps = +knob.dataset.steps, rest = (steps - 1) / 2;
    var bench = knob.closest(".bench");
    var dial = document.createElement("label"), input = document.createElement("input");
    var output = document.createElement("output"), mass = document.createElement("b");
    function show() {
      for (var i = 0; i < steps; i++) knob.classList.toggle("at-" + i, i === +input.value);
      var gain = cells[+input.value].textContent;
      mass.textContent = cells[steps + +input.value].textContent;
      output.replaceChildren(gain + ", mass ", mass);
      input.setAttribute("aria-valuetext", gain + ", mass " + mass.textContent);
    }
    function turn() {
      show();
      if (bench) {
        var shown = bench.querySelector(".reel img");
        bench.className = "bench turned at-" + input.value;
        shown.src = knob.querySelector(".reel img").src;
        dials.forEach(function (other) { if (other.input !== input) other.rest(); });
      } else {
        keep();
      }
    }
    input.type = "range";
    input.min = 0;
    input.max = steps - 1;
    input.value = rest;
    input.setAttribute("aria-label", "Strength of " + knob.querySelector("figcaption").textContent);
    input.addEventListener("input", turn);
    dial.className = "dial";
    dial.append(input, output);
    knob.append(dial);
    knob.classList.add("live");
    show();
    dials.push({
      input: input,
      concept: knob.dataset.concept,
      gains: Array.from(cells).slice(0, steps).map(function (cell) { return cell.textContent.slice(2); }),
      rest: function () { input.value = rest; show(); },
      to: function (step) { input.value = step; show(); },
      moved: function () { return +input.value !== rest; },
    });
  });
  // What is turned is the recipe: it stays in the address, and in the command below.
  var command = document.querySelector("[data-steer]");
  function keep() {
    var turned = dials.filter(function (dial) { return dial.moved(); }).map(function (dial) {
      return dial.concept + "=" + dial.gains[+dial.input.value];
    });
    history.replaceState(null, "", turned.length ? "#turn=" + turned.join(",") : location.pathname + location.search);
    if (!command) return;
    command.textContent = command.dataset.steer + " " + (turned.length ? turned : ["0=2"]).map(function (t) {
      return "--concept " + t;
    }).join(" ") + " --out out.webp";
  }
  var recipe = location.hash.match(/^#turn=([0-9.,=]+)$/);
  if (recipe && command) {
    recipe[1].split(",").forEach(function (part) {
      var pair = part.split("=");
      dials.forEach(function (dial) {
        var step = dial.concept === pair[0] ? dial.gains.indexOf(pair[1]) : -1;
        if (step >= 0) dial.to(step);
      });
    });
    keep();
  }
  // What a bar of a feature's chart stands for, told below it while it is pointed at.
  document.querySelectorAll("[data-counts]").forEach(function (chart) {
    var counts = chart.dataset.counts.split(","), room = chart.viewBox.baseVal.width / BAR_ROOM;
    var ends = chart.closest(".spark").querySelectorAll(".ends span"), told = ends[1], unpointed = told.textContent;
    var weakest = ends[0].textContent, strongest = ends[2].textContent;
    function edge(bin) {
      var octaves = (bin + +chart.dataset.quarter) / BINS_AN_OCTAVE, octave = Math.floor(octaves);
      var value = Math.pow(2, octave) * (1 + octaves - octave);
      if (value >= 1000) return Math.round(value).toLocaleString("en");
      return value < 1e-4 ? value.toExponential(2).replace(/-(\d)$/, "-0$1") : value.toPrecision(3);
    }
    chart.addEventListener("pointermove", function (event) {
      var box = chart.getBoundingClientRect(), bin = Math.floor((event.clientX - box.left) / box.width * room);
      var low = bin ? edge(bin) : weakest, high = bin < counts.length - 1 ? edge(bin + 1) : strongest;
      var n = +counts[bin], text = n ? n.toLocaleString("en") + (n === 1 ? " image, " : " images, ") + low + " to " + high : "";
      told.textContent = text || unpointed;
    });
    chart.addEventListener("pointerleave", function () { told.textContent = unpointed; });
  });
  // A reader's own list: kept in this browser alone, under this atlas's name; the data page exports it.
  var SHELF = "atlas-kept " + (document.documentElement.dataset.atlas || "");
  function kept() {
    try { return Array.from(JSON.parse(localStorage.getItem(SHELF)) || []).filter(whole); } catch (error) { return []; }
  }
  // Anything may lie there under this name: only rows that this script wrote count.
  function whole(row) {
    return row && Number.isInteger(row.feature) && /^feature\/[\d/]+\.html(#f\d+)?$/.test(row.page);
  }
  function store(list) {
    try { localStorage.setItem(SHELF, JSON.stringify(list)); return true; } catch (error) { return false; }
  }
  function holds(list, feature) {
    return list.some(function (row) { return row.feature === feature; });
  }
  // A feature's address below the site's root, told by the page that shows it.
  function addressOf(feature) {
    var ways = location.pathname.split("/");
    return document.body.classList.contains("group") ? ways.slice(-2).join("/") + "#f" + feature : ways.slice(-3).join("/");
  }
  document.querySelectorAll("[data-keep]").forEach(function (button) {
    var feature = +button.dataset.keep, title = document.querySelector("#f" + feature + " .title");
    var name = title.classList.contains("nameless") ? "" : title.textContent;
    function say() { button.textContent = holds(kept(), feature) ? "in your list; take it out" : "keep in your list"; }
    button.hidden = false;
    say();
    button.addEventListener("click", function () {
      var list = kept(), others = list.filter(function (row) { return row.feature !== feature; });
      if (others.length === list.length) others.push({ feature: feature, name: name, page: addressOf(feature) });
      if (!store(others)) button.textContent = "this browser keeps no list here";
      else say();
    });
  });
  var shelf = document.getElementById("shelf");
  if (shelf) {
    var rows = kept();
    var names = rows.map(function (row) {
      var item = document.createElement("li"), link = document.createElement("a");
      link.href = shelf.dataset.root + "/" + row.page;
      link.textContent = row.feature + " " + (row.name || "no name");
      item.append(link);
      return item;
    });
    shelf.querySelector("ul").append.apply(shelf.querySelector("ul"), names);
    shelf.querySelector(".empty").hidden = rows.length > 0;
    var save = shelf.querySelector("button");
    save.hidden = !rows.length;
    save.addEventListener("click", function () {
      var link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([JSON.stringify({ atlas: document.documentElement.dataset.atlas, features: rows }, null, 1)], { type: "application/json" }));
      link.download = "features.json";
      link.click();
    });
  }
  // The foot of a printed page tells its address, but for one on a disk.
  addEventListener("beforeprint", function () {
    if (/^http/.test(location.protocol)) document.querySelector(".foot").dataset.address = location.href;
  });
  var COPIED = { id: ".id", bibtex: "pre" };
  document.querySelectorAll("[data-copy]").forEach(function (button) {
    if (!navigator.clipboard) return;
    button.hidden = false;
    button.addEventListener("click", function () {
      var part = COPIED[button.dataset.copy];
      var text = part ? button.closest(".cite").querySelector(part).textContent : button.dataset.copy;
      navigator.clipboard.writeText(text).then(function () {
        button.textContent = "copied";
      });
    });
  });
})();
