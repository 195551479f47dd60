// Search over the words of labels and captions, and by meaning over lists made with the atlas.
// The index comes as scripts, by the first two characters of a word, so that it also works from
// a disk. Same rules as atlas/search_index.py, atlas/vocabulary.py and atlas/meanings.py.
"use strict";
(function () {
  var page = document.getElementById("results");
  var root = page.dataset.root;
  var answer = document.getElementById("answer");
  var found = document.getElementById("found");
  var start = document.getElementById("start");
  var box = document.getElementById("find");
  var meant = document.getElementById("meant");
  var SHOWN = 60, MEANT_SHOWN = 24;
  var STOP_WORDS = ["a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or", "the", "to", "with"];
  var features = null;
  var place = new Map();
  var words = {};
  var meanings = {};
  var waiting = {};

  window.atlasWords = function (piece) {
    words[piece.prefix] = piece.words;
    meanings[piece.prefix] = piece.meanings;
  };
  window.atlasFeatures = function (table) {
    features = table;
    table.feature.forEach(function (feature, i) { place.set(feature, i); });
  };

  function wordsOf(text) {
    return text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) || [];
  }
  function prefixOf(word) {
    return /^[a-z0-9]{2}/.test(word) ? word.slice(0, 2) : "_";
  }
  function load(prefix) {
    if (!features.prefixes.includes(prefix)) {
      words[prefix] = words[prefix] || {};
      return Promise.resolve();
    }
    waiting[prefix] = waiting[prefix] || new Promise(function (done, fail) {
      var script = document.createElement("script");
      script.src = root + "/assets/search/" + prefix + ".js";
      script.onload = done;
      script.onerror = fail;
      document.head.append(script);
    });
    return waiting[prefix];
  }
  // The features of one word: those of every known word that begins with it, the exact one first.
  function matches(word) {
    var scores = new Map();
    var known = words[prefixOf(word)] || {};
    Object.keys(known).forEach(function (key) {
      if (!key.startsWith(word)) return;
      var weight = key === word || key === word + "s" ? 1 : 0.2;
      for (var i = 0; i < known[key].length; i += 2) {
        var feature = known[key][i];
        scores.set(feature, Math.max(scores.get(feature) || 0, weight * known[key][i + 1]));
      }
    });
    return scores;
  }
  // Knowing two words a little is better than knowing one of them well; where nothing knows all, any will do.
  function rank(query) {
    var each = query.map(matches);
    var total = new Map();
    each.forEach(function (scores) {
      scores.forEach(function (score, feature) {
        total.set(feature, (total.get(feature) || 0) + Math.log1p(score));
      });
    });
    var any = Array.from(total), all = any.filter(function (entry) {
      return each.every(function (scores) { return scores.has(entry[0]); });
    });
    return (all.length ? all : any).sort(function (a, b) {
      return b[1] - a[1] || a[0] - b[0];
    }).map(function (entry) { return entry[0]; });
  }
  function listOf(entry) {
    var known = meanings[prefixOf(entry.split(" ")[0])] || {};
    return Object.hasOwn(known, entry) ? known[entry] : null;
  }
  // What is typed last may be unfinished: then the shortest word that begins so.
  function finished(word) {
    return Object.keys(meanings[prefixOf(word)] || {}).filter(function (entry) {
      return word.length > 2 && entry.startsWith(word) && !entry.includes(" ");
    }).sort(function (a, b) { return a.length - b.length || (a < b ? -1 : 1); })[0];
  }
  // The entries of the vocabulary that a text is made of, pairs first.
  function entriesOf(text) {
    var said = (text.toLowerCase().match(/[a-z0-9]+(?:['’][a-z]+)?/g) || []).filter(function (word) {
      return !STOP_WORDS.includes(word);
    });
    var entries = [];
    for (var i = 0; i < said.length; i++) {
      var pair = said[i] + " " + said[i + 1];
      if (i + 1 < said.length && listOf(pair)) {
        entries.push(pair);
        i += 1;
        continue;
      }
      var word = said[i];
      var known = [word, word.replace(/s$/, ""), word.replace(/es$/, ""), word.replace(/ies$/, "") + "y"].find(listOf);
      if (!known && i + 1 === said.length) known = finished(word);
      if (known) entries.push(known);
    }
    return entries;
  }
  // Each list counts from its own end, so that a word at its end adds nothing.
  function near(entries) {
    var total = new Map();
    entries.forEach(function (entry) {
      var list = listOf(entry);
      for (var i = 0; i < list.length; i += 2) {
        total.set(list[i], (total.get(list[i]) || 0) + list[i + 1]);
      }
    });
    return Array.from(total).sort(function (a, b) {
      return b[1] - a[1] || a[0] - b[0];
    }).map(function (entry) { return entry[0]; });
  }
  function pagePath(feature) {
    return atlasPage(root, features, feature);
  }
  function tile(feature) {
    var i = place.get(feature);
    var item = document.createElement("li");
    var link = document.createElement("a");
    link.href = pagePath(feature);
    if (features.icon[i] !== -1) link.append(atlasImage(root, features, i));
    var name = document.createElement("span");
    name.className = "clamp";
    name.textContent = features.name[i] || "no name";
    var more = document.createElement("b");
    more.textContent = feature + " · " + (100 * features.density[i]).toPrecision(3) + " %";
    link.append(name, more);
    item.append(link);
    return item;
  }
  function fill(holder, list, most) {
    holder.replaceChildren.apply(holder, list.filter(function (feature) {
      return place.has(feature);
    }).slice(0, most).map(tile));
  }
  function showMeant(text) {
    var entries = entriesOf(text);
    meant.hidden = !entries.length;
    fill(meant.querySelector("ul"), near(entries), MEANT_SHOWN);
    document.getElementById("meantwords").textContent = entries.map(function (entry) { return "“" + entry + "”"; }).join(" and ");
    document.getElementById("exactly").textContent = 'atlas search "' + text.replace(/["$`\\]/g, "") + '"';
  }
  // As the command does: labels first, then meaning, then captions.
  function labeled(text, list) {
    var query = wordsOf(text);
    return list.slice(0, SHOWN).some(function (feature) {
      var name = place.has(feature) ? features.name[place.get(feature)].toLowerCase() : "";
      return query.every(function (word) { return name.includes(word) || String(feature) === word; });
    });
  }
  function show(text, list) {
    fill(found, list, SHOWN);
    showMeant(text);
    if (labeled(text, list)) found.after(meant);
    else answer.before(meant);
    start.hidden = list.length > 0 || !meant.hidden;
    if (list.length) {
      answer.textContent = list.length + (list.length === 1 ? " feature" : " features") + " labeled or captioned “" + text + "”" +
        (list.length > SHOWN ? "; the best " + SHOWN + ":" : ":");
    } else {
      answer.textContent = "Nothing is labeled or captioned “" + text + "”. " +
        (meant.hidden ? "Try a single, plainer word, or choose from the labels." : "What lies near it in meaning:");
    }
  }
  var asked = 0;
  function search(text) {
    var turn = ++asked;
    var query = wordsOf(text);
    if (!query.length || !features) {
      found.replaceChildren();
      meant.hidden = true;
      start.hidden = false;
      return;
    }
    Promise.all(query.map(function (word) { return load(prefixOf(word)); })).then(function () {
      if (turn !== asked) return;
      var number = text.trim().match(/^f?(\d+)$/);
      var list = rank(query);
      if (number && place.has(Number(number[1]))) {
        list = [Number(number[1])].concat(list.filter(function (f) { return f !== Number(number[1]); }));
      }
      show(text.trim(), list);
    });
  }
  document.addEventListener("DOMContentLoaded", function () {
    var text = new URLSearchParams(location.search).get("q") || "";
    box.value = text;
    search(text);
    box.addEventListener("input", function () { search(box.value); });
    if (!text) box.focus();
  });
})();
