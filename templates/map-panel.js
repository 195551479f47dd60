// What is said of the feature that is opened on the map, and of a part that is drawn around.
"use strict";
(function () {
  function make(name, className, text) {
    var part = document.createElement(name);
    if (className) part.className = className;
    if (text) part.textContent = text;
    return part;
  }
  function link(href, text) {
    var way = make("a", "", text);
    way.href = href;
    return way;
  }
  window.atlasPanel = function (panel, holder, table, closed) {
    var root = holder.dataset.root;
    function fill(parts) {
      var close = make("button", "", "close");
      close.type = "button";
      close.addEventListener("click", closed);
      panel.replaceChildren.apply(panel, [close].concat(parts));
      panel.hidden = false;
      panel.scrollTop = 0;
    }
    return {
      hide: function () {
        panel.hidden = true;
        panel.replaceChildren();
      },
      feature: function (i) {
        var feature = table.feature[i], page = atlasPage(root, table, feature);
        var head = make("a", "who"), name = make("h2", "", table.name[i] || "no name");
        head.href = page;
        if (table.icon[i] !== -1) head.append(atlasImage(root, table, i));
        head.append(name);
        var more = make("p", "small", "Feature " + feature + ", fires on " + (100 * table.density[i]).toPrecision(3) + "% of pictures. Its page ");
        more.append(link(page, "shows all of it"), ".");
        var tops = make("a", "three");
        tops.href = page;
        tops.setAttribute("aria-label", "Its strongest pictures");
        tops.append.apply(tops, atlasTops(holder, feature, table.tops[i]));
        fill(tops.firstChild ? [head, more, tops] : [head, more]);
      },
      // Features within a part of the map: how many, some of them, and the way to all.
      part: function (places, within) {
        var some = make("div", "some");
        places.slice(0, 12).forEach(function (i) {
          if (table.icon[i] === -1 || table.feature[i] < 0) return;
          var way = link(atlasPage(root, table, table.feature[i]));
          way.setAttribute("aria-label", "Feature " + table.feature[i] + " " + table.name[i]);
          way.append(atlasImage(root, table, i));
          some.append(way);
        });
        var words = make("p");
        if (places.length) words.append(link(root + "/browse.html#within=" + within.join("-"), "Browse them"));
        fill([make("h2", "", places.length.toLocaleString("en") + (places.length === 1 ? " feature" : " features")), some, words]);
      },
    };
  };
})();
