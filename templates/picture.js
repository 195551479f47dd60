// A reader's own picture: hashed here, compared with the hashes of all pictures shown, sent nowhere.
// The hash is that of atlas/inputs/picture.py: gray, nine columns and eight rows by Pillow's box filter.
"use strict";
(function () {
  var part = document.getElementById("own"), root = part.dataset.root;
  var field = part.querySelector("input"), said = part.querySelector("[role=status]");
  var list = part.querySelector("ul");
  var SHOWN = 12, ONE = 1 << 22;
  var table = null, features = window.atlasTable;

  window.atlasPictures = function (given) { table = given; };

  // Which pixels of a line go into each of n, and how much: Pillow's whole numbers, so that bits agree.
  function weights(length, n) {
    var found = [], scale = length / n, support = Math.max(scale, 1) / 2;
    for (var i = 0; i < n; i++) {
      var center = (i + 0.5) * scale;
      var low = Math.max(Math.trunc(center - support + 0.5), 0), high = Math.min(Math.trunc(center + support + 0.5), length);
      var parts = [], sum = 0;
      for (var k = low; k < high; k++) {
        var at = (k - center + 0.5) / Math.max(scale, 1), part = at > -0.5 && at <= 0.5 ? 1 : 0;
        parts.push(part);
        sum += part;
      }
      found.push({ low: low, parts: parts.map(function (part) { return Math.trunc(0.5 + part / sum * ONE); }) });
    }
    return found;
  }
  function level(sum) { return Math.min(255, Math.max(0, Math.floor((sum + ONE / 2) / ONE))); }
  window.atlasHash = function (pixels, wide, tall) {
    var across = weights(wide, 9), down = weights(tall, 8), narrow = [], bits = [];
    for (var y = 0; y < tall; y++) {
      var gray = [];
      for (var x = 0; x < wide; x++) {
        var at = 4 * (y * wide + x);
        gray.push((pixels[at] * 19595 + pixels[at + 1] * 38470 + pixels[at + 2] * 7471 + 32768) >> 16);
      }
      narrow.push(across.map(function (w) {
        return level(w.parts.reduce(function (sum, part, k) { return sum + part * gray[w.low + k]; }, 0));
      }));
    }
    var small = down.map(function (w) {
      return across.map(function (_, column) {
        return level(w.parts.reduce(function (sum, part, k) { return sum + part * narrow[w.low + k][column]; }, 0));
      });
    });
    small.forEach(function (row) {
      for (var i = 0; i < 8; i++) bits.push(row[i + 1] > row[i] ? 1 : 0);
    });
    return bits;
  };
  // Thumbnails are square: cut from the middle, or whole on white. Either may be the one that is here.
  function look(file) {
    return createImageBitmap(file, { colorSpaceConversion: "none" }).then(function (bitmap) {
      return [Math.min(bitmap.width, bitmap.height), Math.max(bitmap.width, bitmap.height)].map(function (side) {
        var sheet = document.createElement("canvas");
        sheet.width = sheet.height = side;
        var pen = sheet.getContext("2d", { willReadFrequently: true });
        pen.fillStyle = "#fff";
        pen.fillRect(0, 0, side, side);
        pen.drawImage(bitmap, Math.trunc((side - bitmap.width) / 2), Math.trunc((side - bitmap.height) / 2));
        return atlasHash(pen.getImageData(0, 0, side, side).data, side, side);
      });
    });
  }
  function apart(held, i, bits) {
    var far = 0;
    for (var b = 0; b < 64; b++) far += ((held.charCodeAt(8 * i + (b >> 3)) >> (7 - (b & 7))) & 1) ^ bits[b];
    return far;
  }
  function nearest(hashes) {
    var held = atob(table.hashes), image = 0, found = [];
    for (var i = 0; i < table.images.length; i++) {
      image += table.images[i];
      var far = Math.min(apart(held, i, hashes[0]), apart(held, i, hashes[1]));
      if (far <= table.near) found.push({ image: image, far: far, features: table.features[i] });
    }
    return found.sort(function (a, b) { return a.far - b.far || a.image - b.image; });
  }
  function tile(feature) {
    var i = features.place(feature), item = document.createElement("li"), link = document.createElement("a");
    link.href = atlasPage(root, features, feature);
    if (features.icon[i] !== -1) link.append(atlasImage(root, features, i));
    var name = document.createElement("span"), number = document.createElement("b");
    name.className = "clamp";
    name.textContent = features.name[i] || "no name";
    number.textContent = feature;
    link.append(name, number);
    item.append(link);
    return item;
  }
  function show(found) {
    var shown = [];
    found.forEach(function (one) {
      one.features.forEach(function (feature) { if (!shown.includes(feature)) shown.push(feature); });
    });
    shown = shown.slice(0, SHOWN);
    features.want(shown).then(function () { list.replaceChildren.apply(list, shown.map(tile)); });
    if (!found.length) {
      said.textContent = "It is not among the pictures shown here. The command below opens any picture.";
      return;
    }
    said.textContent = "It is, or looks just like, picture " + found[0].image + " (" + found[0].far + " of 64 bits differ)" +
      (found.length > 1 ? " and " + (found.length - 1) + " more" : "") + ". Features whose strongest pictures it is among:";
  }
  function ask(file) {
    list.replaceChildren();
    said.textContent = "Looking…";
    Promise.all([atlasLoad("assets/pictures.js"), look(file)]).then(function (both) {
      show(nearest(both[1]));
    }).catch(function () {
      said.textContent = "This browser can’t read that file as a picture. Try a PNG, JPEG or WebP.";
    });
  }
  field.addEventListener("change", function () { if (field.files.length) ask(field.files[0]); });
  part.hidden = false;
})();
