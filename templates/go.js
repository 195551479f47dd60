// A short link leads on: f/12345 below the site's folder, go.html?f=12345, or go.html?random to any feature.
"use strict";
(function () {
  var missing = document.getElementById("missing"), root = missing.dataset.root;
  var asked = location.search.match(/^\?f=(\d+)$/) || location.pathname.match(/\/f\/(\d+)\/?$/);
  function any(list) { return list[Math.floor(Math.random() * list.length)]; }
  function go(feature) { location.replace(atlasPage(root, { layout: missing.dataset.layout }, feature)); }
  if (asked) go(Number(asked[1]));
  else if (location.search === "?random" && atlasTable.n) {
    atlasLoad("assets/features/" + any(atlasTable.files) + ".js").then(function () {
      go(any(atlasTable.feature.filter(function (feature) { return feature >= 0; })));
    });
  }
})();
