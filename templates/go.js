// A short link leads on: f/12345 below the site's folder, or ?f=12345 on this page.
"use strict";
(function () {
  var missing = document.getElementById("missing");
  var asked = location.search.match(/^\?f=(\d+)$/) || location.pathname.match(/\/f\/(\d+)\/?$/);
  if (asked) location.replace(atlasPage(missing.dataset.root, { layout: missing.dataset.layout }, Number(asked[1])));
})();
