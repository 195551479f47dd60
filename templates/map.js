// The map: points in ink, icons as one comes closer, names where there is room.
"use strict";
(function () {
  var holder = document.getElementById("map");
  var root = holder.dataset.root;
  var sheet = document.getElementById("sheet");
  var caption = document.getElementById("mapcap");
  var panel = document.getElementById("panel");
  var pen = sheet.getContext("2d");
  var ICON_FROM = 26; // pixels of room an icon needs
  var MARGIN = 0.06;
  var table = null, icons = new Map(), wide = 1, tall = 1, dot = 1;
  var view = { x: 0.5, y: 0.5, scale: 1 };
  var light = true, current = -1, chosen = -1, ink = "#000", second = "#666", accent = "#b00", paper = "#fff";

  window.atlasFeatures = function (given) { table = given; };

  function base() { return Math.min(wide, tall) * (1 - 2 * MARGIN); }
  function placeOnSheet(x, y) {
    var size = base() * view.scale, stretch = Math.min(1.6, wide / tall);
    return [wide / 2 + (x - view.x) * size * Math.max(1, stretch), tall / 2 + (y - view.y) * size];
  }
  function toSheet(i) { return placeOnSheet(table.x[i], table.y[i]); }
  function colors() {
    var style = getComputedStyle(document.documentElement);
    ink = style.getPropertyValue("--ink");
    second = style.getPropertyValue("--second");
    accent = style.getPropertyValue("--accent");
    paper = style.getPropertyValue("--paper");
    light = !matchMedia("(prefers-color-scheme: dark)").matches;
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
  // Icons and names take turns from the strongest feature on; where two would overlap, the later stays a point.
  function draw() {
    pen.setTransform(dot, 0, 0, dot, 0, 0);
    pen.clearRect(0, 0, wide, tall);
    var room = base() * view.scale / Math.sqrt(table.feature.length);
    var size = Math.min(96, Math.max(ICON_FROM, room * 0.8));
    var taken = new Map(), named = [], high = size >= 60 ? size + 18 : size;
    function roomAt(at) {
      var column = Math.floor(at[0] / size), row = Math.floor(at[1] / high);
      for (var dx = -1; dx <= 1; dx++) {
        for (var dy = -1; dy <= 1; dy++) {
          var other = taken.get(column + dx + "," + (row + dy));
          if (other && Math.abs(other[0] - at[0]) < size && Math.abs(other[1] - at[1]) < high) return false;
        }
      }
      taken.set(column + "," + row, at);
      return true;
    }
    for (var k = 0; k < byMass.length; k++) {
      var i = byMass[k], at = toSheet(i);
      if (at[0] < -size || at[1] < -size || at[0] > wide + size || at[1] > tall + size) continue;
      var image = room * 1.6 > ICON_FROM && table.icon[i] !== -1 && roomAt(at) ? iconOf(i) : null;
      if (image) {
        // White around a picture is not part of the map: on light paper it is multiplied away.
        pen.globalCompositeOperation = light ? "multiply" : "source-over";
        var cell = atlasCell(table, i), side = cell ? image.naturalWidth / 8 : image.naturalWidth;
        cell = cell || [0, 0];
        pen.drawImage(image, cell[0] * side, cell[1] * side, side, side, at[0] - size / 2, at[1] - size / 2, size, size);
        pen.globalCompositeOperation = "source-over";
        if (size >= 60) named.push([table.name[i], at[0], at[1] + size / 2 + 12]);
      } else {
        pen.beginPath();
        pen.fillStyle = i === chosen ? accent : ink;
        pen.globalAlpha = 0.65;
        pen.arc(at[0], at[1], Math.min(4, 1.6 + view.scale * 0.3), 0, 7);
        pen.fill();
        pen.globalAlpha = 1;
      }
    }
    pen.textAlign = "center";
    if (room * 1.6 <= ICON_FROM || size < 60) drawRegions();
    pen.font = "12px Inter, sans-serif";
    pen.fillStyle = second;
    named.forEach(function (n) { pen.fillText(n[0].length > 18 ? n[0].slice(0, 17) + "…" : n[0], n[1], n[2]); });
    found.concat([current, chosen]).forEach(function (i) {
      if (i < 0) return;
      var at = toSheet(i);
      if (at[0] < -size || at[1] < -size || at[0] > wide + size || at[1] > tall + size) return;
      pen.beginPath();
      pen.strokeStyle = accent;
      pen.lineWidth = 2;
      pen.arc(at[0], at[1], room * 1.6 > ICON_FROM ? size / 2 + 3 : 8, 0, 7);
      pen.stroke();
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
    for (var i = 0; i < table.feature.length; i++) {
      var at = toSheet(i), far = (at[0] - x) * (at[0] - x) + (at[1] - y) * (at[1] - y);
      if (far < least) { least = far; best = i; }
    }
    return best;
  }
  function say(i) {
    if (i === current) return;
    current = i;
    caption.replaceChildren();
    if (i >= 0) {
      var number = document.createElement("b");
      number.textContent = table.feature[i];
      caption.append(number, " " + (table.name[i] || "no name"));
    }
    ask();
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
    } else {
      caption.replaceChildren();
    }
    ask();
  }
  function zoomAt(factor, x, y) {
    var before = view.scale, size = base() * before, stretch = Math.max(1, Math.min(1.6, wide / tall));
    view.scale = Math.max(0.8, Math.min(60, before * factor));
    var grown = base() * view.scale;
    view.x += (x - wide / 2) * (1 / size - 1 / grown) / stretch;
    view.y += (y - tall / 2) * (1 / size - 1 / grown);
    ask();
  }
  function pagePath(feature) {
    return atlasPage(root, table, feature);
  }
  function open(i) {
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
      more.textContent = "Feature " + table.feature[i] + ", fires on " + (100 * table.density[i]).toPrecision(3) + " % of images. Its page";
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
    sheet.width = Math.round(wide * dot);
    sheet.height = Math.round(tall * dot);
    colors();
    ask();
  }
  var byMass = [];
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
      var from = held.get(event.pointerId), size = base() * view.scale, stretch = Math.max(1, Math.min(1.6, wide / tall));
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
      view.x -= dx / size / stretch;
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
      else if (event.key === "Enter") { open(nearest(wide / 2, tall / 2, 1e9)); panel.querySelector("a").focus(); }
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
  document.addEventListener("DOMContentLoaded", function () {
    if (!table) return;
    box.addEventListener("input", function () {
      look(box.value);
      var text = box.value.trim();
      history.replaceState(null, "", text ? "#q=" + encodeURIComponent(text) : location.pathname);
    });
    byMass = table.feature.map(function (_, i) { return i; }).sort(function (a, b) {
      return table.density[b] * table.max[b] - table.density[a] * table.max[a] || table.feature[a] - table.feature[b];
    });
    holder.querySelector(".zoom").hidden = false;
    resize();
    listen();
    var asked = location.hash.match(/^#f(\d+)$/);
    var i = asked ? table.feature.indexOf(Number(asked[1])) : -1;
    if (i >= 0) {
      view = { x: table.x[i], y: table.y[i], scale: 8 };
      open(i);
    }
    var sought = new URLSearchParams(location.hash.slice(1)).get("q");
    if (sought) { box.value = sought; look(sought); }
    if (document.fonts) document.fonts.ready.then(ask);
  });
})();
