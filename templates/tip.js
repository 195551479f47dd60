// What a tile of a wall stands for, beside the tile that is pointed at or reached by keys:
// its name, and the three pictures that excite it most.
"use strict";
(function () {
  var SHOWN = 3, SIDE = 88, GAP = 8;
  // The pictures of a feature lie side by side in a sheet, a row for each feature.
  function fromSheet(root, feature, sheets, twice) {
    var number = Math.floor(feature / sheets), address = "sheet/" + Math.floor(number / 1000) + "/" + number + (twice ? "@2x.webp" : ".webp");
    var image = new Image(), strip = document.createElement("i");
    image.onload = function () {
      var side = parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--thumb")) || SIDE;
      var scale = Math.min(1, SIDE / side), natural = twice ? image.naturalWidth / 2 : image.naturalWidth;
      strip.style.width = SHOWN * side * scale + "px";
      strip.style.height = side * scale + "px";
      strip.style.backgroundSize = natural * scale + "px auto";
      strip.style.backgroundPosition = "0 " + -(feature % sheets) * side * scale + "px";
      strip.style.backgroundImage = 'url("' + image.src + '")';
    };
    image.src = atlasPicture(root, address);
    return [strip];
  }
  function fromFiles(root, tops) {
    return tops.split(" ").map(function (number) {
      var image = new Image(SIDE, SIDE);
      image.alt = "";
      image.src = atlasPicture(root, "thumb/" + Math.floor(number / 1000) + "/" + number + ".webp");
      return image;
    });
  }
  // The strongest pictures of a feature: out of a sheet where features share one, else by the files named. A
  // wall or a map says which.
  window.atlasTops = function (place, feature, tops) {
    var sheets = +place.dataset.sheets, twice = "twice" in place.dataset && devicePixelRatio >= DENSE;
    return sheets ? fromSheet(place.dataset.root, feature, sheets, twice) : tops ? fromFiles(place.dataset.root, tops) : [];
  };
  var walls = document.querySelectorAll(".wall");
  if (!walls.length || !matchMedia("(hover: hover)").matches) return;
  var tip = document.createElement("div"), row = document.createElement("div"), words = document.createElement("p");
  tip.className = "tip";
  tip.hidden = true;
  // The tile's own link says the same to who listens.
  tip.setAttribute("aria-hidden", "true");
  row.className = "three";
  tip.append(row, words);
  document.body.append(tip);
  document.documentElement.classList.add("tips");

  var at = null;
  function show(link) {
    if (link === at) return;
    at = link;
    var wall = link.closest(".wall"), caption = link.querySelector(".cap");
    row.replaceChildren.apply(row, atlasTops(wall, +link.dataset.feature, link.dataset.tops));
    words.replaceChildren.apply(words, Array.from(caption.childNodes, function (node) { return node.cloneNode(true); }));
    tip.hidden = false;
    place(link.getBoundingClientRect(), tip.getBoundingClientRect());
  }
  // Below the tile, or above it where there is no room; never beyond the window.
  function place(tile, own) {
    var left = Math.max(GAP, Math.min(tile.left + (tile.width - own.width) / 2, document.documentElement.clientWidth - own.width - GAP));
    var below = tile.bottom + GAP + own.height < innerHeight;
    tip.style.left = left + "px";
    tip.style.top = (below ? tile.bottom + GAP : Math.max(GAP, tile.top - GAP - own.height)) + "px";
  }
  function hide() {
    at = null;
    tip.hidden = true;
  }
  function link(event) { return event.target.closest && event.target.closest(".wall a"); }
  walls.forEach(function (wall) {
    wall.addEventListener("pointerover", function (event) { if (link(event)) show(link(event)); else hide(); });
    wall.addEventListener("pointerleave", hide);
    wall.addEventListener("focusin", function (event) { if (link(event) && link(event).matches(":focus-visible")) show(link(event)); });
    wall.addEventListener("focusout", hide);
  });
  addEventListener("scroll", hide, { passive: true });
  addEventListener("keydown", function (event) { if (event.key === "Escape") hide(); });
})();
