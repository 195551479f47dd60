// The wall, sorted and filtered over all features. Without it the pages are in map order.
"use strict";
(function () {
  var STEP = 600;
  var tools = document.querySelector(".tools");
  var root = tools.dataset.root;
  var wall = document.querySelector(".wall");
  var pager = document.querySelector(".pager");
  var count = tools.querySelector("output");
  var order = tools.querySelector("[name=order]");
  var filter = tools.querySelector("[name=filter]");
  var sieve = document.querySelector(".sieve");
  var table = window.atlasTable, measures = null, spots = null, sift = null;

  window.atlasMeasures = function (given) { measures = given; };
  window.atlasSpots = function (given) { spots = given; };

  function by(column, sign) {
    return function (a, b) {
      var values = table[column] || measures[column];
      return sign * (values[a] - values[b]) || table.feature[a] - table.feature[b];
    };
  }
  var MEASURED = ["max", "trip", "selective"];
  var orders = {
    map: null,
    density: by("density", -1),
    rare: by("density", 1),
    max: by("max", -1),
    trip: by("trip", -1),
    selective: by("selectivity", -1),
    feature: by("feature", 1),
    name: function (a, b) {
      var left = table.name[a], right = table.name[b];
      if (!left !== !right) return left ? -1 : 1;
      return left < right ? -1 : left > right ? 1 : table.feature[a] - table.feature[b];
    },
  };
  function tile(i) {
    var feature = table.feature[i];
    var item = document.createElement("li");
    var link = document.createElement("a");
    link.href = atlasPage(root, table, feature);
    link.dataset.feature = feature;
    if (table.tops[i]) link.dataset.tops = table.tops[i];
    if (table.icon[i] !== -1) {
      link.append(atlasImage(root, table, i));
    } else {
      var blank = document.createElement("span");
      blank.className = "hidden-picture stand-in";
      blank.textContent = table.name[i] || feature;
      link.append(blank);
    }
    var cap = document.createElement("span");
    var number = document.createElement("b");
    var more = document.createElement("span");
    cap.className = "cap";
    number.textContent = feature;
    more.className = "more";
    more.textContent = "fires on " + (100 * table.density[i]).toPrecision(3) + "% of pictures";
    cap.append(number, " " + (table.name[i] || "no name"), more);
    link.append(cap);
    item.append(link);
    return item;
  }
  var button = document.createElement("button");
  button.type = "button";
  button.className = "more-button";
  button.textContent = "More";
  var list = [], shown = 0;
  function grow() {
    var some = list.slice(shown, shown + STEP);
    shown += some.length;
    wall.append.apply(wall, some.map(tile));
    button.hidden = shown >= list.length;
  }
  // Rows come when an order or a filter asks for them; what is asked last is drawn.
  var turn = 0;
  function measured() { return MEASURED.includes(order.value) || sieve.open || sifted(); }
  function load() {
    var needed = measured() && !measures ? ["measures"] : [];
    if (asksFor("within") && !spots) needed.push("spots");
    return Promise.all([table.all()].concat(needed.map(function (name) { return atlasLoad("assets/" + name + ".js"); })));
  }
  function draw() {
    var mine = ++turn, late = table.rows < table.n || (measured() && !measures) || (asksFor("within") && !spots);
    if (late) count.textContent = "sorting…";
    if (!late) show();
    else load().then(function () { if (mine === turn) show(); }, function () { count.textContent = "the list could not be loaded"; });
  }
  // Whether the address asks for more than an order and a name.
  function sifted() { return atlasSift.keys.some(asksFor); }
  function asksFor(key) { return new URLSearchParams(location.hash.slice(1)).has(key); }
  function ready() {
    if (sift || !measures || !(sieve.open || sifted())) return;
    sift = atlasSift(sieve.querySelector("div"), table, measures, function () { return spots; }, keep);
    sift.recall(new URLSearchParams(location.hash.slice(1)));
    if (sifted()) sieve.open = true;
  }
  function show() {
    var words = filter.value.toLowerCase().trim();
    ready();
    list = table.feature.map(function (_, i) { return i; });
    if (words) list = list.filter(function (i) { return table.name[i].toLowerCase().includes(words); });
    if (sift) {
      list = list.filter(sift.passes);
      sift.show(new Set(list));
    }
    var compare = orders[order.value];
    if (compare) list.sort(compare);
    wall.replaceChildren();
    shown = 0;
    if (pager) pager.hidden = true;
    count.textContent = list.length + (list.length === 1 ? " feature" : " features") + (list.length ? "" : ": no name or filter leaves any");
    grow();
  }
  // Order and filters stay in the address, behind #, so that a link shows the same wall.
  function keep() {
    var said = new URLSearchParams();
    if (order.value !== "map") said.set("order", order.value);
    if (filter.value.trim()) said.set("named", filter.value.trim());
    if (sift) sift.keep(said);
    var text = said.toString();
    history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
    draw();
  }
  function recall() {
    var said = new URLSearchParams(location.hash.slice(1)), wanted = said.get("order");
    if (wanted in orders) order.value = wanted;
    filter.value = said.get("named") || "";
    if (sift) sift.recall(said);
    if (order.value !== "map" || filter.value || sift || sifted()) draw();
  }
  document.addEventListener("DOMContentLoaded", function () {
    tools.hidden = false;
    sieve.hidden = false;
    sieve.addEventListener("toggle", function () { if (sieve.open && !sift) draw(); });
    if (!table.trips) order.querySelector("[value=trip]").remove();
    ["focusin", "pointerover"].forEach(function (event) {
      tools.addEventListener(event, function () { table.all().catch(function () {}); }, { once: true });
    });
    wall.after(button);
    button.hidden = true;
    button.addEventListener("click", grow);
    order.addEventListener("change", keep);
    filter.addEventListener("input", keep);
    window.addEventListener("hashchange", recall);
    recall();
  });
})();
