// The map: points in ink, an icon for each part of it, more of them as one comes closer, and names of families.
"use strict";
(function () {
  var ICON_FROM = 24, ICON_MOST = 60; // pixels of an icon
  var TILE_COLUMNS = 24, TILE_ROWS = 16; // as in atlas/site/map_sheets.py
  var MAP_SIDE = 10000; // as in atlas/site/search_index.py
  var MARGIN = 0.06, NEAR = 10;
  var holder = document.getElementById("map"), root = holder.dataset.root;
  var sheet = document.getElementById("sheet"), caption = document.getElementById("mapcap");
  var rings = document.createElement("canvas"), box = document.getElementById("find");
  var pen = sheet.getContext("2d"), ringPen = rings.getContext("2d");
  var scene = document.createElement("canvas"), scenePen = scene.getContext("2d"), sceneView = null;
  var ground = document.createElement("canvas"), groundView = null, points = atlasPoints(ground.getContext("2d"));
  var choice = holder.querySelector("select"), legend = holder.querySelector(".legend"), around = holder.querySelector("[data-around]");
  var table = window.atlasTable, spots = null, measures = null, pictures = new Map(), wide = 1, tall = 1, dot = 1;
  var WHOLE = { x: 0.5, y: 0.5, scale: 1 }, view = Object.assign({}, WHOLE);
  var light = true, ink = "#000", second = "#666", accent = "#b00", paper = "#fff";
  var current = -1, over = null, chosen = -1, found = [], part = null, coloring = null;
  var finest = new Map(); // of the features that the last level shows, where their icons are
  var shown = new Map(), labels = []; // where icons and names were drawn last
  var panel = atlasPanel(document.getElementById("panel"), holder, table, function () { open(-1); sheet.focus(); });

  window.atlasSpots = function (given) { spots = given; };
  window.atlasMeasures = function (given) { measures = given; };

  function base() { return Math.min(wide, tall) * (1 - 2 * MARGIN); }
  function stretch() { return Math.max(1, Math.min(1.6, wide / tall)); }
  function placeOnSheet(x, y) {
    var size = base() * view.scale;
    return [wide / 2 + (x - view.x) * size * stretch(), tall / 2 + (y - view.y) * size];
  }
  function placeOnMap(x, y) {
    var size = base() * view.scale;
    return [view.x + (x - wide / 2) / size / stretch(), view.y + (y - tall / 2) / size];
  }
  function toSheet(i) { return shown.get(i) || placeOnSheet(spots.x[i] / MAP_SIDE, spots.y[i] / MAP_SIDE); }
  // Where a feature would have some 160 pixels to itself, there is nothing more to see.
  function closest() { return Math.max(8, 160 * Math.sqrt(table.n) / base()); }
  function colors() {
    var style = getComputedStyle(document.documentElement);
    ink = style.getPropertyValue("--ink");
    second = style.getPropertyValue("--second");
    accent = style.getPropertyValue("--accent");
    paper = style.getPropertyValue("--paper").trim();
    light = !matchMedia("(prefers-color-scheme: dark)").matches;
    points.ink(paper, ink);
    explain();
  }
  function picture(address) {
    var image = pictures.get(address);
    if (!image) {
      image = new Image();
      image.onload = ask;
      image.src = address;
      pictures.set(address, image);
    }
    return image.complete && image.naturalWidth ? image : null;
  }
  var asked = false;
  function ask() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(function () { asked = false; draw(); });
  }
  // The finest level whose icons are large enough to be seen, and how large they are.
  function levelNow() {
    var across = base() * view.scale * stretch(), down = base() * view.scale;
    var fit = spots.levels.filter(function (level) { return Math.min(across / level.columns, down / level.rows) >= ICON_FROM; });
    var number = Math.max(0, fit.length - 1), level = spots.levels[number];
    if (!level) return null;
    return { number: number, level: level, across: across / level.columns, down: down / level.rows };
  }
  // Where the icon of a cell lies in the tiles of its level.
  function tileOf(number, level, cell) {
    var column = cell % level.columns, row = Math.floor(cell / level.columns);
    var tile = Math.floor(row / TILE_ROWS) * Math.ceil(level.columns / TILE_COLUMNS) + Math.floor(column / TILE_COLUMNS);
    return { picture: atlasPicture(root, "map/" + number + "-" + tile + ".webp"), cell: [column % TILE_COLUMNS, row % TILE_ROWS], cells: Math.min(TILE_COLUMNS, level.columns) };
  }
  // One icon for each cell, near where its feature lies, but never over another.
  function listCells(now) {
    var level = now.level, size = Math.min(ICON_MOST, 0.86 * Math.min(now.across, now.down)), list = [];
    level.cells.forEach(function (cell, k) {
      var column = cell % level.columns, row = Math.floor(cell / level.columns), i = level.places[k];
      var middle = placeOnSheet((column + 0.5) / level.columns, (row + 0.5) / level.rows);
      if (middle[0] < -size || middle[1] < -size || middle[0] > wide + size || middle[1] > tall + size) return;
      var at = placeOnSheet(spots.x[i] / MAP_SIDE, spots.y[i] / MAP_SIDE);
      list.push(Object.assign({
        i: i, x: within(at[0], middle[0], (now.across - size) / 2), y: within(at[1], middle[1], (now.down - size) / 2), size: size,
      }, tileOf(now.number, level, cell)));
    });
    return list;
  }
  function within(value, middle, reach) { return Math.max(middle - reach, Math.min(middle + reach, value)); }
  // Beyond the last level: icons take turns, the opened feature first, then from the strongest on.
  function listFeatures() {
    var room = base() * view.scale / Math.sqrt(table.n), size = Math.min(96, Math.max(40, room * 0.8)), high = size + 18;
    var roomAt = roomFinder(size, high), list = [];
    for (var k = -1; k < table.n; k++) {
      var i = k < 0 ? chosen : spots.strongest[k];
      if (i < 0 || (i === chosen && k >= 0) || table.icon[i] === -1 || table.feature[i] < 0) continue;
      var at = placeOnSheet(spots.x[i] / MAP_SIDE, spots.y[i] / MAP_SIDE);
      if (at[0] < -size || at[1] < -size || at[0] > wide + size || at[1] > tall + size || !roomAt(at[0], at[1])) continue;
      var own = finest.get(i) || { picture: atlasIcon(root, table, i), cell: atlasCell(table, i) || [0, 0], cells: atlasCell(table, i) ? 8 : 1, white: true };
      list.push(Object.assign({ i: i, x: at[0], y: at[1], size: size }, own));
    }
    return list;
  }
  function roomFinder(size, high) {
    var taken = new Map(), BAND = 1 << 15;
    return function (x, y) {
      var place = Math.floor(x / size) + BAND * Math.floor(y / high);
      for (var dx = -1; dx <= 1; dx++) {
        for (var dy = -BAND; dy <= BAND; dy += BAND) {
          var other = taken.get(place + dx + dy);
          if (other && Math.abs(other[0] - x) < size && Math.abs(other[1] - y) < high) return false;
        }
      }
      taken.set(place, [x, y]);
      return true;
    };
  }
  // A small step of a movement moves the last picture of all; a larger one, and rest, draws anew.
  function draw() {
    var step = moving && sceneView && movedBy(sceneView);
    if (step && step.grown < 1.2 && step.grown > 0.95 && Math.max(Math.abs(step.x), Math.abs(step.y)) < 24) {
      drawGround(true);
      blit(scene, step);
      mark();
      return;
    }
    drawAll();
    sceneView = Object.assign({}, view);
    scenePen.drawImage(sheet, 0, 0);
  }
  // How a picture of an earlier view lies in this one: where its corner is, in pixels, and how much larger it is.
  function movedBy(before) {
    var grown = view.scale / before.scale, across = base() * view.scale * stretch(), down = base() * view.scale;
    return { grown: grown, x: wide / 2 * (1 - grown) + (before.x - view.x) * across, y: tall / 2 * (1 - grown) + (before.y - view.y) * down };
  }
  function blit(picture, step) {
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(picture, dot * step.x, dot * step.y, step.grown * sheet.width, step.grown * sheet.height);
  }
  function drawAll() {
    var now = levelNow(), deep = now && Math.min(now.across, now.down) > 2.6 * ICON_FROM && now.number === spots.levels.length - 1;
    var list = !now || (coloring && !deep) ? [] : deep ? listFeatures() : listCells(now);
    drawGround(list.length > 0);
    shown = new Map();
    labels = [];
    pen.setTransform(dot, 0, 0, dot, 0, 0);
    list.forEach(drawIcon);
    pen.textAlign = "center";
    if (deep) list.forEach(drawName);
    else drawRegions();
    mark();
  }
  // The points are drawn when the view rests; while it moves, the last picture of them moves with it.
  function drawGround(quiet) {
    var step = moving && groundView && movedBy(groundView);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    if (!step || step.grown > 3 || step.grown < 1 / 3) {
      drawPoints(quiet);
      groundView = Object.assign({}, view);
      pen.drawImage(ground, 0, 0);
      return;
    }
    pen.fillStyle = paper;
    pen.fillRect(0, 0, sheet.width, sheet.height);
    blit(ground, step);
  }
  var places = new Float32Array(0), painted = new Uint8Array(0);
  function drawPoints(quiet) {
    var step = base() * view.scale / MAP_SIDE, stepAcross = step * stretch(), n = 0;
    var left = wide / 2 - view.x * MAP_SIDE * stepAcross, top = tall / 2 - view.y * MAP_SIDE * step;
    if (places.length < 2 * table.n) { places = new Float32Array(2 * table.n); painted = new Uint8Array(3 * table.n); }
    for (var i = 0; i < table.n; i++) {
      var x = left + spots.x[i] * stepAcross, y = top + spots.y[i] * step;
      if (x < 0 || y < 0 || x > wide || y > tall) continue;
      if (coloring) painted.set(coloring[i], 3 * n);
      places[2 * n] = dot * x;
      places[2 * n++ + 1] = dot * y;
    }
    var radius = dot * Math.min(4, 1.4 + view.scale * 0.3);
    // Larger where they are few, so that colors are seen.
    if (coloring) points.paint(places, n, radius * Math.max(1, Math.min(2.4, 90 / Math.sqrt(table.n) + 0.6)), painted);
    else points.draw(places, n, radius, quiet ? 70 : 166);
  }
  function drawIcon(one) {
    var image = picture(one.picture);
    if (!image) return;
    var side = image.naturalWidth / one.cells, left = one.x - one.size / 2, top = one.y - one.size / 2;
    if (!one.white) {
      pen.drawImage(image, one.cell[0] * side, one.cell[1] * side, side, side, left, top, one.size, one.size);
      shown.set(one.i, [one.x, one.y, one.size]);
      return;
    }
    pen.save();
    // White around a picture that is not of the map's own is multiplied away, or has rounded corners in the dark.
    if (light) pen.globalCompositeOperation = "multiply";
    if (!light && pen.roundRect) {
      pen.beginPath();
      pen.roundRect(left, top, one.size, one.size, 0.18 * one.size);
      pen.clip();
    }
    pen.drawImage(image, one.cell[0] * side, one.cell[1] * side, side, side, left, top, one.size, one.size);
    pen.restore();
    shown.set(one.i, [one.x, one.y, one.size]);
  }
  function drawName(one) {
    if (!shown.has(one.i)) return;
    var name = table.name[one.i] || "";
    pen.font = "12px Inter, sans-serif";
    pen.fillStyle = second;
    pen.fillText(name.length > 18 ? name.slice(0, 17) + "…" : name, one.x, one.y + one.size / 2 + 12);
  }
  // Names of families, coarse and large ones first and larger; finer ones as one comes closer, where there is room.
  function drawRegions() {
    var finest = view.scale < 1.5 ? 1 : 2, most = [1, 1, 1], said = new Set();
    table.regions.forEach(function (region) { most[region[0]] = Math.max(most[region[0]], region[5]); });
    for (var k = 0; k < table.regions.length && labels.length < 36; k++) {
      var region = table.regions[k], level = region[0], name = region[1];
      if (level > finest || (level < 1 && view.scale >= 3) || said.has(name)) continue;
      var size = Math.round([17, 13, 13][level] + 7 * Math.sqrt(region[5] / most[level]) - 2 * (level > 0));
      pen.font = "500 " + size + "px Newsreader, Georgia, serif";
      var at = placeOnSheet(region[2], region[3]), half = pen.measureText(name).width / 2 + 7, high = size * 0.72;
      if (at[0] < half || at[0] > wide - half || at[1] < high || at[1] > tall - high) continue;
      if (labels.some(function (b) { return Math.abs(b.x - at[0]) < b.half + half + 8 && Math.abs(b.y - at[1]) < b.high + high + 6; })) continue;
      said.add(name);
      labels.push({ x: at[0], y: at[1], half: half, high: high, name: name, family: region[4], features: region[5] });
      pen.globalAlpha = 0.88;
      pen.fillStyle = paper;
      pen.fillRect(at[0] - half, at[1] - high, 2 * half, 2 * high);
      pen.globalAlpha = 1;
      pen.fillStyle = ink;
      pen.textBaseline = "middle";
      pen.fillText(name, at[0], at[1] + 1);
      pen.textBaseline = "alphabetic";
    }
  }
  // Rings lie on a sheet of their own: pointing at a feature leaves the map as it is.
  function mark() {
    ringPen.setTransform(dot, 0, 0, dot, 0, 0);
    ringPen.clearRect(0, 0, wide, tall);
    ringPen.strokeStyle = accent;
    ringPen.lineWidth = 2;
    found.concat([current, chosen]).forEach(function (i) {
      if (i < 0) return;
      var at = toSheet(i), reach = at[2] ? at[2] / 2 + 3 : 8;
      if (at[0] < -reach || at[1] < -reach || at[0] > wide + reach || at[1] > tall + reach) return;
      ringPen.beginPath();
      ringPen.arc(at[0], at[1], reach, 0, 7);
      ringPen.stroke();
    });
    if (!part) return;
    var from = placeOnSheet(part[0] / MAP_SIDE, part[1] / MAP_SIDE), to = placeOnSheet(part[2] / MAP_SIDE, part[3] / MAP_SIDE);
    ringPen.strokeRect(from[0], from[1], to[0] - from[0], to[1] - from[1]);
  }
  // The icon under a place, else the nearest point.
  function nearest(x, y, reach) {
    var best = -1, least = reach * reach;
    shown.forEach(function (at, i) {
      if (Math.max(Math.abs(at[0] - x), Math.abs(at[1] - y)) <= at[2] / 2 && best < 0) best = i;
    });
    if (best >= 0) return best;
    for (var i = 0; i < table.n; i++) {
      var at = toSheet(i), far = (at[0] - x) * (at[0] - x) + (at[1] - y) * (at[1] - y);
      if (far < least) { least = far; best = i; }
    }
    return best;
  }
  function labelAt(x, y) {
    return labels.find(function (label) { return Math.abs(label.x - x) <= label.half && Math.abs(label.y - y) <= label.high; });
  }
  function point(x, y) {
    var label = labelAt(x, y);
    sheet.style.cursor = around.getAttribute("aria-pressed") === "true" ? "crosshair" : label ? "pointer" : "";
    if (!label) { say(nearest(x, y, 32)); return; }
    say(-1);
    over = label;
    caption.textContent = label.name + ", a family of " + label.features.toLocaleString("en") + (label.features === 1 ? " feature" : " features");
  }
  function say(i) {
    if (i === current && !over) return;
    current = i;
    over = null;
    caption.replaceChildren();
    if (i >= 0 && table.feature[i] >= 0) {
      var number = document.createElement("b");
      number.textContent = table.feature[i];
      caption.append(number, " " + (table.name[i] || "no name"));
    }
    mark();
  }
  // What the search field holds is ringed, and stays in the address.
  function look(text) {
    var wanted = text.toLowerCase().trim();
    found = [];
    if (wanted) {
      table.name.forEach(function (name, i) {
        if (name.toLowerCase().includes(wanted) || String(table.feature[i]) === wanted) found.push(i);
      });
      caption.textContent = found.length + (found.length === 1 ? " feature" : " features") + " labeled “" + text.trim() + "”" + (found.length ? "" : "; Enter searches captions too");
      if (table.rows < table.n) caption.textContent = "Looking for “" + text.trim() + "”…";
    } else {
      caption.replaceChildren();
    }
    mark();
  }
  function zoomAt(factor, x, y) {
    var before = view.scale, size = base() * before;
    view.scale = Math.max(0.8, Math.min(closest(), before * factor));
    var grown = base() * view.scale;
    view.x += (x - wide / 2) * (1 / size - 1 / grown) / stretch();
    view.y += (y - tall / 2) * (1 / size - 1 / grown);
    moved();
  }
  var moving = 0;
  function moved() {
    clearTimeout(moving);
    moving = setTimeout(function () { moving = 0; ask(); }, 150);
    ask();
    keep();
  }
  // What is seen stays in the address, so that a link shows the same; of a movement it is written when all is at rest.
  var resting = 0;
  function keep() {
    clearTimeout(resting);
    resting = setTimeout(write, 200);
  }
  function write() {
    clearTimeout(resting);
    var said = new URLSearchParams(), text = box.value.trim();
    if (text) said.set("q", text);
    if (chosen >= 0) said.set("f", table.feature[chosen]);
    if (choice.value) said.set("color", choice.value);
    if (view.x !== WHOLE.x || view.y !== WHOLE.y || view.scale !== WHOLE.scale) {
      said.set("at", [view.x.toFixed(4), view.y.toFixed(4), view.scale.toFixed(2)].join("_"));
    }
    history.replaceState(null, "", String(said) ? "#" + said : location.pathname + location.search);
  }
  function open(i) {
    if (i >= 0 && table.feature[i] < 0) {
      table.all().then(function () { open(i); });
      return;
    }
    chosen = i;
    part = null;
    if (i < 0) panel.hide();
    else panel.feature(i);
    moved();
  }
  // The features within a rectangle that was drawn, from one corner of the sheet to another.
  function enclose(from, to) {
    var ends = [placeOnMap(Math.min(from[0], to[0]), Math.min(from[1], to[1])), placeOnMap(Math.max(from[0], to[0]), Math.max(from[1], to[1]))];
    part = ends[0].concat(ends[1]).map(function (value) { return Math.max(0, Math.min(MAP_SIDE, Math.round(value * MAP_SIDE))); });
    chosen = -1;
    panel.part(spots.strongest.filter(function (i) {
      return spots.x[i] >= part[0] && spots.x[i] <= part[2] && spots.y[i] >= part[1] && spots.y[i] <= part[3];
    }), part);
    mark();
  }
  // Colors in place of icons; without a choice, icons.
  function paint() {
    if (!choice.value) coloring = null;
    else if (!measures || table.rows < table.n) {
      Promise.all([table.all(), atlasLoad("assets/measures.js")]).then(paint, function () { caption.textContent = "The figures could not be loaded."; });
      return;
    } else {
      var by = atlasColors.by(choice.value, table, measures);
      coloring = table.feature.map(function (_, i) { return by.of(i, light); });
      coloring.legend = by.legend(light);
    }
    explain();
    groundView = sceneView = null;
    ask();
  }
  function explain() {
    if (choice.value && coloring && coloring.light !== light) {
      var by = atlasColors.by(choice.value, table, measures);
      coloring = table.feature.map(function (_, i) { return by.of(i, light); });
      coloring.legend = by.legend(light);
    }
    if (coloring) coloring.light = light;
    legend.replaceChildren.apply(legend, (coloring ? coloring.legend : []).map(function (pair) {
      var item = document.createElement("li"), swatch = document.createElement("i");
      swatch.style.background = pair[0];
      item.append(swatch, pair[1]);
      return item;
    }));
  }
  function resize() {
    wide = sheet.clientWidth;
    tall = sheet.clientHeight;
    dot = window.devicePixelRatio || 1;
    sheet.width = rings.width = Math.max(1, Math.round(wide * dot));
    sheet.height = rings.height = Math.max(1, Math.round(tall * dot));
    ground.width = scene.width = sheet.width;
    ground.height = scene.height = sheet.height;
    groundView = sceneView = null;
    points.resize(sheet.width, sheet.height);
    colors();
    ask();
  }
  var held = new Map(), drift = 0, spread = 0, corner = null;
  function listen() {
    sheet.addEventListener("wheel", function (event) {
      event.preventDefault();
      zoomAt(Math.exp(-event.deltaY * 0.0016), event.offsetX, event.offsetY);
    }, { passive: false });
    sheet.addEventListener("pointerdown", function (event) {
      sheet.setPointerCapture(event.pointerId);
      held.set(event.pointerId, [event.offsetX, event.offsetY]);
      drift = spread = 0;
      corner = event.shiftKey || around.getAttribute("aria-pressed") === "true" ? [event.offsetX, event.offsetY] : null;
    });
    sheet.addEventListener("pointermove", function (event) {
      var to = [event.offsetX, event.offsetY];
      if (!held.has(event.pointerId)) { point(to[0], to[1]); return; }
      var from = held.get(event.pointerId), size = base() * view.scale;
      held.set(event.pointerId, to);
      if (held.size === 2) {
        var ends = Array.from(held.values()), gap = Math.hypot(ends[0][0] - ends[1][0], ends[0][1] - ends[1][1]);
        if (spread) zoomAt(gap / spread, (ends[0][0] + ends[1][0]) / 2, (ends[0][1] + ends[1][1]) / 2);
        spread = gap;
        drift = 99;
        return;
      }
      drift += Math.abs(to[0] - from[0]) + Math.abs(to[1] - from[1]);
      if (corner) {
        if (drift > 6) enclose(corner, to);
        return;
      }
      if (drift < 4) return;
      view.x -= (to[0] - from[0]) / size / stretch();
      view.y -= (to[1] - from[1]) / size;
      moved();
    });
    function release(event) {
      held.delete(event.pointerId);
      if (corner && drift > 6) around.setAttribute("aria-pressed", "false");
    }
    sheet.addEventListener("pointerup", release);
    sheet.addEventListener("pointercancel", release);
    sheet.addEventListener("pointerleave", function () { if (!held.size) say(-1); });
    // A tap's last event: what opens on an earlier one would be under the finger when the tap ends.
    sheet.addEventListener("click", function (event) {
      if (drift >= 6) return;
      var label = labelAt(event.offsetX, event.offsetY), close = nearest(event.offsetX, event.offsetY, label ? 0 : 40);
      if (label && !(close >= 0 && !shown.has(close) && Math.hypot(toSheet(close)[0] - event.offsetX, toSheet(close)[1] - event.offsetY) < NEAR)) {
        location.href = root + (label.family < 0 ? "/families.html" : "/family/" + label.family + ".html");
        return;
      }
      open(close);
    });
    sheet.addEventListener("keydown", function (event) {
      var step = 60 / (base() * view.scale);
      if (event.key === "ArrowLeft") view.x -= step;
      else if (event.key === "ArrowRight") view.x += step;
      else if (event.key === "ArrowUp") view.y -= step;
      else if (event.key === "ArrowDown") view.y += step;
      else if (event.key === "+" || event.key === "=") zoomAt(1.4, wide / 2, tall / 2);
      else if (event.key === "-") zoomAt(1 / 1.4, wide / 2, tall / 2);
      else if (event.key === "Escape") open(-1);
      else if (event.key === "Enter") {
        open(nearest(wide / 2, tall / 2, 1e9));
        var way = document.querySelector("#panel a");
        if (way) way.focus();
      }
      else return;
      event.preventDefault();
      say(nearest(wide / 2, tall / 2, 1e9));
      moved();
    });
    holder.querySelectorAll("[data-zoom]").forEach(function (button) {
      button.addEventListener("click", function () {
        var factor = Number(button.dataset.zoom);
        if (factor) zoomAt(factor, wide / 2, tall / 2);
        else view = Object.assign({}, WHOLE);
        moved();
      });
    });
    around.addEventListener("click", function () {
      around.setAttribute("aria-pressed", String(around.getAttribute("aria-pressed") !== "true"));
    });
    choice.addEventListener("change", function () { paint(); write(); });
    new ResizeObserver(resize).observe(sheet);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", resize);
  }
  // A link to a feature opens it as soon as its row is here, a link to a search when all are.
  function follow() {
    var said = new URLSearchParams(location.hash.slice(1).replace(/^f(\d+)$/, "f=$1"));
    var at = /^(-?[\d.]+)_(-?[\d.]+)_([\d.]+)$/.exec(said.get("at") || ""), feature = /^\d+$/.test(said.get("f") || "") ? +said.get("f") : -1;
    if (at) view = { x: +at[1], y: +at[2], scale: Math.max(0.8, Math.min(closest(), +at[3] || 1)) };
    if (feature >= 0) table.want([feature]).then(function () {
      var i = table.place(feature);
      if (i < 0) return;
      if (!at) view = { x: spots.x[i] / MAP_SIDE, y: spots.y[i] / MAP_SIDE, scale: Math.min(8, closest()) };
      chosen = i;
      panel.feature(i);
      ask();
    });
    choice.value = said.get("color") in atlasColors.words ? said.get("color") : "";
    paint();
    if (said.get("q")) { box.value = said.get("q"); look(box.value); }
    ask();
  }
  document.addEventListener("DOMContentLoaded", function () {
    rings.className = "rings";
    sheet.after(rings);
    Object.keys(atlasColors.words).forEach(function (key) {
      if (key !== "icon" || table.trips) choice.append(new Option(atlasColors.words[key], key));
    });
    box.addEventListener("input", function () {
      look(box.value);
      write();
    });
    holder.querySelectorAll(".zoom, .hues").forEach(function (tool) { tool.hidden = false; });
    var last = spots.levels.length - 1;
    if (last >= 0) spots.levels[last].places.forEach(function (i, k) { finest.set(i, tileOf(last, spots.levels[last], spots.levels[last].cells[k])); });
    resize();
    listen();
    follow();
    window.addEventListener("hashchange", follow);
    // Names and icons come behind the points.
    requestAnimationFrame(function () {
      table.all().then(function () {
        if (box.value.trim()) look(box.value);
        ask();
      }, function () { caption.textContent = "The names could not be loaded. Reload the page to try again."; });
    });
    if (document.fonts) document.fonts.ready.then(ask);
  });
})();
