// The table of features, as much of it as a page asks for: what there is comes first, rows come in
// files of a thousand numbers, words by how they begin. Same rules as atlas/site/search_index.py.
"use strict";
(function () {
  var FEATURES_A_FILE = 1024, LONGEST_PREFIX = 12, AT_ONCE = 4, NOTHING = { words: {}, meanings: {} };
  var root = document.currentScript.src.replace(/\/assets\/table\.js.*$/, "");
  var asked = {}, pieces = {};

  // A file that hands its data over, asked for once; a page from a disk can load no other kind.
  window.atlasLoad = function (path) {
    asked[path] = asked[path] || new Promise(function (done, fail) {
      var script = document.createElement("script");
      script.src = root + "/" + path;
      script.onload = done;
      script.onerror = function () {
        delete asked[path];
        fail(new Error(path + " could not be loaded"));
      };
      document.head.append(script);
    });
    return asked[path];
  };
  window.atlasWords = function (piece) {
    pieces[piece.prefix] = piece;
    if (piece.rows) atlasTable.take(piece.rows);
  };
  window.atlasFeatures = function (head) {
    var places = new Map(), loaded = new Set(), files = new Set(head.files), prefixes = new Set(head.prefixes);
    var listeners = [], whole = null;
    function fileOf(feature) { return Math.floor(feature / FEATURES_A_FILE); }
    function load(file) { return atlasLoad("assets/features/" + file + ".js"); }
    function column(value) { return new Array(head.n).fill(value); }
    // The longest prefix of a word that has a piece, or nothing where no word begins so.
    function prefixOf(word) {
      var letters = Array.from(word).slice(0, LONGEST_PREFIX);
      while (letters.length && !prefixes.has(letters.join(""))) letters.pop();
      return letters.join("");
    }
    var table = window.atlasTable = Object.assign(head, {
      feature: column(-1), name: column(""), icon: column(-1), density: column(0), tops: column(""), rows: 0,
      // The place of a feature in the order of the map; -1 where it is not among those shown, or not yet.
      place: function (feature) { return places.has(feature) ? places.get(feature) : -1; },
      // Whether all is known of it that ever will be.
      known: function (feature) { return places.has(feature) || loaded.has(fileOf(feature)) || !files.has(fileOf(feature)); },
      take: function (rows) {
        rows.place.forEach(function (place, k) {
          table.feature[place] = rows.feature[k];
          table.name[place] = rows.name[k];
          table.icon[place] = rows.icon[k];
          table.density[place] = rows.density[k];
          if (rows.tops) table.tops[place] = rows.tops[k];
          places.set(rows.feature[k], place);
        });
        listeners.forEach(function (listener) { listener(); });
      },
      // The rows of some features.
      want: function (features) {
        var wanted = new Set(features.filter(function (feature) { return !table.known(feature); }).map(fileOf));
        return Promise.all(Array.from(wanted, load));
      },
      // All rows, a few files at a time, so that keys are heard in between.
      all: function () {
        var left = head.files.filter(function (file) { return !loaded.has(file); });
        function next() { return left.length ? load(left.shift()).then(next) : Promise.resolve(); }
        whole = whole || Promise.all(new Array(AT_ONCE).fill().map(next));
        return whole;
      },
      onrows: function (listener) { listeners.push(listener); },
      // What is known of words that begin as this one does; null where it has not been asked for.
      piece: function (word) {
        var prefix = prefixOf(word);
        return prefix ? pieces[prefix] || null : NOTHING;
      },
      // The first features of a word whose own piece is not here yet, if the piece above it is.
      ahead: function (word) {
        var letters = Array.from(word), last = letters.pop(), above = pieces[letters.join("")];
        return (above && above.next && above.next[last]) || [];
      },
      ask: function (word) {
        var name = Array.from(prefixOf(word), function (letter) {
          return /[a-z0-9]/.test(letter) ? letter : "_" + letter.codePointAt(0).toString(16);
        }).join("");
        return name ? atlasLoad("assets/search/w" + name + ".js") : Promise.resolve();
      },
    });
    window.atlasRows = function (rows) {
      loaded.add(fileOf(rows.feature[0]));
      table.rows += rows.place.length;
      table.take(rows);
    };
  };
})();
