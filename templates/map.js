// The map: points in ink, icons as one comes closer, names where there is room.
"use strict";
(function () {
  var holder = document.getElementById("map");
  var root = holder.dataset.root;
  var sheet = document.getElementById("sheet");
  var caption = document.getElementById("mapcap");
  var panel = document.getElementById("panel");
  var rings = document.createElement("canvas");
  var pen = sheet.getContext("2d"), ringPen = rings.getContext("2d");
  var ICON_FROM = 26; // pixels of room an icon needs
  var MARGIN = 0.06;
  var table = window.atlasTable, spots = null, icons = new Map(), wide = 1, tall = 1, dot = 1;
  var view = { x: 0.5, y: 0.5, scale: 1 };
  var light = true, current = -1, chosen = -1, ink = "#000", shades = null, second = "#666", accent = "#b00", paper = "#fff";

  var MAP_SIDE = 10000; // as in atlas/site/search_index.py
  window.atlasSpots = function (given) { spots = given; };

  function base() { return Math.min(wide, tall) * (1 - 2 * MARGIN); }
  function stretch() { return Math.max(1, Math.min(1.6, wide / tall)); }
  function placeOnSheet(x, y) {
    var size = base() * view.scale;
    return [wide / 2 + (x - view.x) * size * stretch(), tall / 2 + (y - view.y) * size];
  }
  function toSheet(i) { return placeOnSheet(spots.x[i] / MAP_SIDE, spots.y[i] / MAP_SIDE); }
  function colors() {
    var style = getComputedStyle(document.documentElement);
    ink = style.getPropertyValue("--ink");
    second = style.getPropertyValue("--second");
    accent = style.getPropertyValue("--accent");
    paper = style.getPropertyValue("--paper");
    var from = channels(paper), to = channels(ink);
    shades = new Uint32Array(256).map(function (_, cover) {
      return from.reduce(function (color, level, k) {
        return color | (Math.round(level + (to[k] - level) * cover / 255) << (8 * k));
      }, 255 << 24);
    });
    light = !matchMedia("(prefers-color-scheme: dark)").matches;
  }
  // Red, green and blue of a color written as #rrggbb or #rgb.
  function channels(color) {
    var digits = color.trim().slice(1), each = digits.length / 3;
    return [0, 1, 2].map(function (k) { return parseInt(digits.substr(k * each, each).padStart(2, digits[k]), 16); });
  }
  function iconOf(i) {
    var picture = atlasIcon(root, table, i);
    if (!picture) return null;
    var image = icons.get(picture);
    if (!image) {
      image = new Image();
      image.onload = ask;
      image.src = picture;
      icons.set(picture, image);
    }
    return image.complete && image.naturalWidth ? image : null;
  }
  var asked = false;
  function ask() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(function () { asked = false; draw(); });
  }
  // What a point covers: steps from its middle in a picture's pixels, and how much of each, of 256.
  function stampOf(radius, across) {
    var reach = Math.ceil(radius), steps = [], shares = [];
    for (var row = -reach; row <= reach; row++) {
      for (var column = -reach; column <= reach; column++) {
        var share = Math.round(166 * Math.max(0, Math.min(1, radius + 0.5 - Math.hypot(row, column))));
        if (!share) continue;
        steps.push(row * across + column);
        shares.push(share);
      }
    }
    return { reach: reach, steps: Int32Array.from(steps), shares: Int32Array.from(shares) };
  }
  // All points at once, pixel by pixel: a path for each would take many frames.
  var cover = new Uint8Array(0), pixels = null;
  function drawPoints(points, n) {
    var across = sheet.width, down = sheet.height;
    var stamp = stampOf(dot * Math.min(4, 1.6 + view.scale * 0.3), across), reach = stamp.reach;
    var steps = stamp.steps, shares = stamp.shares;
    cover.fill(0);
    for (var k = 0; k < 2 * n; k += 2) {
      var x = Math.round(points[k] * dot), y = Math.round(points[k + 1] * dot), middle = y * across + x;
      if (x < reach || y < reach || x + reach >= across || y + reach >= down) continue;
      for (var s = 0; s < steps.length; s++) {
        var p = middle + steps[s], held = cover[p];
        cover[p] = held + (((255 - held) * shares[s]) >> 8);
      }
    }
    var colored = new Uint32Array(pixels.data.buffer);
    for (var i = 0; i < cover.length; i++) colored[i] = shades[cover[i]];
    pen.putImageData(pixels, 0, 0);
  }
  // Icons take turns, the opened feature first, then from the strongest on; where two would overlap, the later stays a point.
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
  var reached = 8; // how far rings lie around what they mark
  function draw() {
    var room = base() * view.scale / Math.sqrt(table.n), near = room * 1.6 > ICON_FROM;
    var size = Math.min(96, Math.max(ICON_FROM, room * 0.8)), high = size >= 60 ? size + 18 : size;
    var roomAt = roomFinder(size, high), drawn = [], points = new Float32Array(2 * table.n), n = 0;
    var step = base() * view.scale / MAP_SIDE, stepAcross = step * stretch();
    var left = wide / 2 - view.x * MAP_SIDE * stepAcross, top = tall / 2 - view.y * MAP_SIDE * step;
    for (var k = -1; k < table.n; k++) {
      var i = k < 0 ? chosen : spots.strongest[k];
      if (i < 0 || (i === chosen && k >= 0)) continue;
      var x = left + spots.x[i] * stepAcross, y = top + spots.y[i] * step;
      if (x < -size || y < -size || x > wide + size || y > tall + size) continue;
      var image = near && table.icon[i] !== -1 && roomAt(x, y) ? iconOf(i) : null;
      if (image) drawn.push([image, i, x, y]);
      else {
        points[2 * n] = x;
        points[2 * n++ + 1] = y;
      }
    }
    drawPoints(points, n);
    pen.setTransform(dot, 0, 0, dot, 0, 0);
    // White around a picture is not part of the map: on light paper it is multiplied away.
    pen.globalCompositeOperation = light ? "multiply" : "source-over";
    drawn.forEach(function (one) {
      var cell = atlasCell(table, one[1]), side = cell ? one[0].naturalWidth / 8 : one[0].naturalWidth;
      cell = cell || [0, 0];
      pen.drawImage(one[0], cell[0] * side, cell[1] * side, side, side, one[2] - size / 2, one[3] - size / 2, size, size);
    });
    pen.globalCompositeOperation = "source-over";
    pen.textAlign = "center";
    if (!near || size < 60) drawRegions();
    pen.font = "12px Inter, sans-serif";
    pen.fillStyle = second;
    if (size >= 60) drawn.forEach(function (one) {
      var name = table.name[one[1]];
      pen.fillText(name.length > 18 ? name.slice(0, 17) + "…" : name, one[2], one[3] + size / 2 + 12);
    });
    reached = near ? size / 2 + 3 : 8;
    mark();
  }
  // Rings lie on a sheet of their own: pointing at a feature leaves the map as it is.
  function mark() {
    ringPen.setTransform(dot, 0, 0, dot, 0, 0);
    ringPen.clearRect(0, 0, wide, tall);
    ringPen.strokeStyle = accent;
    ringPen.lineWidth = 2;
    found.concat([current, chosen]).forEach(function (i) {
      if (i < 0) return;
      var at = toSheet(i);
      if (at[0] < -reached || at[1] < -reached || at[0] > wide + reached || at[1] > tall + reached) return;
      ringPen.beginPath();
      ringPen.arc(at[0], at[1], reached, 0, 7);
      ringPen.stroke();
    });
  }
  // Names of clusters, coarse ones first; finer ones as one comes closer, where there is room.
  function drawRegions() {
    var boxes = [], finest = view.scale < 1.5 ? 1 : 2;
    if ("letterSpacing" in pen) pen.letterSpacing = "2px";
    for (var k = 0; k < table.regions.length && boxes.length < 40; k++) {
      var region = table.regions[k], level = region[0], name = region[1];
      if (level > finest || (level < 1 && view.scale >= 3)) continue;
      pen.font = "500 " + [22, 15, 14][level] + "px Newsreader, Georgia, serif";
      var at = placeOnSheet(region[2], region[3]), half = pen.measureText(name).width / 2 + 16;
      if (at[0] < half || at[0] > wide - half || at[1] < 20 || at[1] > tall - 20) continue;
      if (boxes.some(function (b) { return Math.abs(b[0] - at[0]) < b[2] + half && Math.abs(b[1] - at[1]) < 36; })) continue;
      boxes.push([at[0], at[1], half]);
      pen.lineWidth = 4;
      pen.strokeStyle = paper;
      pen.strokeText(name, at[0], at[1] - 8);
      pen.fillStyle = ink;
      pen.fillText(name, at[0], at[1] - 8);
    }
    if ("letterSpacing" in pen) pen.letterSpacing = "0px";
  }
  function nearest(x, y, within) {
    var best = -1, least = within * within;
    for (var i = 0; i < table.n; i++) {
      var at = toSheet(i), far = (at[0] - x) * (at[0] - x) + (at[1] - y) * (at[1] - y);
      if (far < least) { least = far; best = i; }
    }
    return best;
  }
  function say(i) {
    if (i === current) return;
    current = i;
    caption.replaceChildren();
    if (i >= 0 && table.feature[i] >= 0) {
      var number = document.createElement("b");
      number.textContent = table.feature[i];
      caption.append(number, " " + (table.name[i] || "no name"));
    }
    mark();
  }
  // What the search field holds is ringed, and stays in the address.
  var box = document.getElementById("find"), found = [];
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
    view.scale = Math.max(0.8, Math.min(60, before * factor));
    var grown = base() * view.scale;
    view.x += (x - wide / 2) * (1 / size - 1 / grown) / stretch();
    view.y += (y - tall / 2) * (1 / size - 1 / grown);
    ask();
  }
  function pagePath(feature) {
    return atlasPage(root, table, feature);
  }
  function open(i) {
    if (i >= 0 && table.feature[i] < 0) {
      table.all().then(function () { open(i); });
      return;
    }
    chosen = i;
    panel.hidden = i < 0;
    panel.replaceChildren();
    if (i >= 0) {
      var close = document.createElement("button");
      close.type = "button";
      close.textContent = "close";
      close.addEventListener("click", function () { open(-1); sheet.focus(); });
      panel.append(close);
      var link = document.createElement("a");
      link.href = pagePath(table.feature[i]);
      if (table.icon[i] !== -1) {
        link.append(atlasImage(root, table, i));
      }
      var name = document.createElement("h2");
      name.textContent = table.name[i] || "no name";
      link.append(name);
      var more = document.createElement("p");
      more.className = "small";
      more.textContent = "Feature " + table.feature[i] + ", fires on " + (100 * table.density[i]).toPrecision(3) + "% of pictures. Its page";
      panel.append(link, more);
      more.append(" ");
      var go = document.createElement("a");
      go.href = link.href;
      go.textContent = "shows all of it";
      more.append(go, ".");
      history.replaceState(null, "", "#f" + table.feature[i]);
    }
    ask();
  }
  function resize() {
    wide = sheet.clientWidth;
    tall = sheet.clientHeight;
    dot = window.devicePixelRatio || 1;
    sheet.width = rings.width = Math.max(1, Math.round(wide * dot));
    sheet.height = rings.height = Math.max(1, Math.round(tall * dot));
    cover = new Uint8Array(sheet.width * sheet.height);
    pixels = new ImageData(sheet.width, sheet.height);
    colors();
    ask();
  }
  var held = new Map(), moved = 0, spread = 0;
  function listen() {
    sheet.addEventListener("wheel", function (event) {
      event.preventDefault();
      zoomAt(Math.exp(-event.deltaY * 0.0016), event.offsetX, event.offsetY);
    }, { passive: false });
    sheet.addEventListener("pointerdown", function (event) {
      sheet.setPointerCapture(event.pointerId);
      held.set(event.pointerId, [event.offsetX, event.offsetY]);
      moved = 0;
      spread = 0;
    });
    sheet.addEventListener("pointermove", function (event) {
      if (!held.has(event.pointerId)) { say(nearest(event.offsetX, event.offsetY, 32)); return; }
      var from = held.get(event.pointerId), size = base() * view.scale;
      held.set(event.pointerId, [event.offsetX, event.offsetY]);
      if (held.size === 2) {
        var ends = Array.from(held.values()), gap = Math.hypot(ends[0][0] - ends[1][0], ends[0][1] - ends[1][1]);
        if (spread) zoomAt(gap / spread, (ends[0][0] + ends[1][0]) / 2, (ends[0][1] + ends[1][1]) / 2);
        spread = gap;
        moved = 99;
        return;
      }
      var dx = event.offsetX - from[0], dy = event.offsetY - from[1];
      moved += Math.abs(dx) + Math.abs(dy);
      view.x -= dx / size / stretch();
      view.y -= dy / size;
      ask();
    });
    function release(event) {
      var at = held.get(event.pointerId);
      held.delete(event.pointerId);
      if (at && event.type === "pointerup" && moved < 6) open(nearest(event.offsetX, event.offsetY, 40));
    }
    sheet.addEventListener("pointerup", release);
    sheet.addEventListener("pointercancel", release);
    sheet.addEventListener("pointerleave", function () { if (!held.size) say(-1); });
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
        if (panel.querySelector("a")) panel.querySelector("a").focus();
      }
      else return;
      event.preventDefault();
      say(nearest(wide / 2, tall / 2, 1e9));
      ask();
    });
    holder.querySelectorAll("[data-zoom]").forEach(function (button) {
      button.addEventListener("click", function () {
        var factor = Number(button.dataset.zoom);
        if (factor) zoomAt(factor, wide / 2, tall / 2);
        else view = { x: 0.5, y: 0.5, scale: 1 };
        ask();
      });
    });
    new ResizeObserver(resize).observe(sheet);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", resize);
  }
  // A link to a feature opens it as soon as its row is here, a link to a search when all are.
  function follow() {
    var asked = location.hash.match(/^#f(\d+)$/), feature = asked ? Number(asked[1]) : -1;
    if (asked) table.want([feature]).then(function () {
      var i = table.place(feature);
      if (i < 0) return;
      view = { x: spots.x[i] / MAP_SIDE, y: spots.y[i] / MAP_SIDE, scale: 8 };
      open(i);
    });
    var sought = new URLSearchParams(location.hash.slice(1)).get("q");
    if (sought) { box.value = sought; look(sought); }
  }
  document.addEventListener("DOMContentLoaded", function () {
    rings.className = "rings";
    sheet.after(rings);
    box.addEventListener("input", function () {
      look(box.value);
      var text = box.value.trim();
      history.replaceState(null, "", text ? "#q=" + encodeURIComponent(text) : location.pathname);
    });
    holder.querySelector(".zoom").hidden = false;
    resize();
    listen();
    follow();
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
