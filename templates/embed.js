// A feature in a frame: its name, how often it fires, its icon and, where they are files, its strongest pictures.
"use strict";
document.addEventListener("DOMContentLoaded", function () {
  var main = document.getElementById("embed"), root = main.dataset.root, table = window.atlasTable;
  var title = main.querySelector("h1 a"), told = main.querySelector("p"), nine = main.querySelector(".nine");
  function show() {
    var feature = Number(location.hash.slice(1));
    if (!/^#\d+$/.test(location.hash)) return;
    table.want([feature]).then(function () {
      var i = table.place(feature);
      if (i < 0) {
        told.textContent = "Feature " + feature + " is dead or withheld.";
        return;
      }
      title.href = atlasPage(root, table, feature);
      title.textContent = table.name[i] || "no name";
      told.textContent = "Feature " + feature + " fires on " + (100 * table.density[i]).toPrecision(3) + "% of pictures.";
      if (table.icon[i] !== -1) nine.replaceChildren(atlasImage(root, table, i));
      if (table.icon[i] !== -3) pictures(feature);
    });
  }
  function pictures(feature) {
    fetch(main.dataset.api + "/features/" + Math.floor(feature / 64) + ".json").then(function (answer) {
      return answer.json();
    }).then(function (held) {
      nine.replaceChildren.apply(nine, held[feature].top_images.image.map(function (number) {
        var image = document.createElement("img");
        image.width = image.height = 128;
        image.alt = "picture " + number;
        image.src = atlasPicture(root, "thumb/" + Math.floor(number / 1000) + "/" + number + ".webp");
        image.addEventListener("error", function () { image.remove(); });
        return image;
      }));
    }).catch(function () {});
  }
  addEventListener("hashchange", show);
  show();
});
