// Search over the words of labels and captions, and by meaning over lists made with the atlas.
// Lists come as scripts, by how words begin, when they are asked for: see table.js. Same rules as
// atlas/search_index.py, atlas/vocabulary.py and atlas/meanings.py.
"use strict";
(function () {
  var page = document.getElementById("results");
  var root = page.dataset.root;
  var answer = document.getElementById("answer");
  var found = document.getElementById("found");
  var start = document.getElementById("start");
  var box = document.getElementById("find");
  var meant = document.getElementById("meant");
  var SHOWN = 60, FIRST = 16, MEANT_SHOWN = 24, UNFINISHED = 0.2;
  var STOP_WORDS = ["a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or", "the", "to", "with"];
  var table = window.atlasTable;
  var waiting = new Map();

  function wordsOf(text) {
    return text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) || [];
  }
  function saidIn(text) {
    return (text.toLowerCase().match(/[a-z0-9]+(?:['’][a-z]+)?/g) || []).filter(function (word) {
      return !STOP_WORDS.includes(word);
    });
  }
  // A word of the vocabulary, or what it may be a plural of.
  function forms(word) {
    return [word, word.replace(/s$/, ""), word.replace(/es$/, ""), word.replace(/ies$/, "") + "y"];
  }
  // The features of one word: those of every known word that begins with it, the exact one first.
  function matches(word) {
    var scores = new Map(), piece = table.piece(word);
    function add(pairs, weight) {
      for (var i = 0; i < pairs.length; i += 2) {
        scores.set(pairs[i], Math.max(scores.get(pairs[i]) || 0, weight * pairs[i + 1]));
      }
    }
    if (piece.begins) {
      if (piece.prefix === word) add(piece.begins, 1);
      return scores;
    }
    Object.keys(piece.words).forEach(function (key) {
      if (key.startsWith(word)) add(piece.words[key], key === word || key === word + "s" ? 1 : UNFINISHED);
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
    var known = table.piece(entry.split(" ")[0]).meanings;
    return Object.hasOwn(known, entry) ? known[entry] : null;
  }
  // What is typed last may be unfinished: then the shortest word that begins so.
  function finished(word) {
    return Object.keys(table.piece(word).meanings).filter(function (entry) {
      return word.length > 2 && entry.startsWith(word) && !entry.includes(" ");
    }).sort(function (a, b) { return a.length - b.length || (a < b ? -1 : 1); })[0];
  }
  // The entries of the vocabulary that a text is made of, pairs first.
  function entriesOf(text) {
    var said = saidIn(text);
    var entries = [];
    for (var i = 0; i < said.length; i++) {
      var pair = said[i] + " " + said[i + 1];
      if (i + 1 < said.length && listOf(pair)) {
        entries.push(pair);
        i += 1;
        continue;
      }
      var word = said[i];
      var known = forms(word).find(listOf);
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
  // A tile says the number at once, and the rest as soon as its row is here.
  function tile(feature) {
    var item = document.createElement("li");
    if (table.known(feature)) {
      complete(item, feature);
    } else {
      var blank = document.createElement("span"), number = document.createElement("b");
      blank.className = "hidden-picture";
      number.textContent = feature;
      item.append(blank, number);
      waiting.set(item, feature);
    }
    return item;
  }
  function complete(item, feature) {
    var i = table.place(feature);
    if (i < 0) {
      item.remove();
      return;
    }
    var link = document.createElement("a");
    link.href = atlasPage(root, table, feature);
    if (table.icon[i] !== -1) link.append(atlasImage(root, table, i));
    var name = document.createElement("span");
    name.className = "clamp";
    name.textContent = table.name[i] || "no name";
    var more = document.createElement("b");
    more.textContent = feature + " · " + (100 * table.density[i]).toPrecision(3) + " %";
    link.append(name, more);
    item.replaceChildren(link);
  }
  table.onrows(function () {
    waiting.forEach(function (feature, item) {
      if (!table.known(feature)) return;
      waiting.delete(item);
      complete(item, feature);
    });
  });
  function add(holder, list) {
    holder.append.apply(holder, list.filter(function (feature) {
      return !table.known(feature) || table.place(feature) >= 0;
    }).map(tile));
    table.want(list).catch(fail);
  }
  // Work that may wait until what is there has been painted, unless the next key makes it idle.
  function later(work) {
    var turn = asked;
    requestAnimationFrame(function () { setTimeout(function () { if (turn === asked) work(); }); });
  }
  function showMeant(text, entries) {
    meant.hidden = !entries.length;
    add(meant.querySelector("ul"), near(entries).slice(0, MEANT_SHOWN));
    document.getElementById("meantwords").textContent = entries.map(function (entry) { return "“" + entry + "”"; }).join(" and ");
    document.getElementById("exactly").textContent = 'atlas search "' + text.replace(/["$`\\]/g, "") + '"';
  }
  // As the command does: labels first, then meaning, then captions.
  function labeled(text, list) {
    var query = wordsOf(text);
    return list.some(function (feature) {
      var i = table.place(feature), name = i < 0 ? "" : table.name[i].toLowerCase();
      return query.every(function (word) { return name.includes(word) || String(feature) === word; });
    });
  }
  function say(text, list, entries) {
    if (list.length) {
      answer.textContent = list.length + (list.length === 1 ? " feature" : " features") + " labeled or captioned “" + text + "”" +
        (list.length > SHOWN ? "; the best " + SHOWN + ":" : ":");
    } else {
      answer.textContent = "Nothing is labeled or captioned “" + text + "”. " +
        (entries.length ? "What lies near it in meaning:" : "Try a single, plainer word, or choose from the labels.");
    }
  }
  // A key is answered with the first rows of pictures; the rest is added once these are painted.
  function show(text, list) {
    var entries = entriesOf(text), first = list.slice(0, FIRST), rest = list.slice(FIRST, SHOWN);
    waiting.clear();
    found.replaceChildren();
    meant.querySelector("ul").replaceChildren();
    meant.hidden = true;
    start.hidden = list.length > 0 || entries.length > 0;
    say(text, list, entries);
    if (!entries.length || labeled(text, first)) {
      found.after(meant);
      add(found, first);
      later(function () { add(found, rest); showMeant(text, entries); });
    } else {
      answer.before(meant);
      showMeant(text, entries);
      later(function () { add(found, first); add(found, rest); });
    }
  }
  function fail(error) { answer.textContent = "Something is missing: " + error.message + ". Reload the page to try again."; }
  var asked = 0, invitation = answer.textContent;
  function search(text) {
    var turn = ++asked, query = wordsOf(text);
    if (!query.length) {
      answer.textContent = invitation;
      found.replaceChildren();
      meant.hidden = true;
      start.hidden = false;
      return;
    }
    var needed = query.concat.apply(query, saidIn(text).map(forms));
    var number = text.trim().match(/^f?(\d+)$/), feature = number ? Number(number[1]) : -1;
    function go() {
      if (turn !== asked) return;
      var list = rank(query);
      if (table.place(feature) >= 0) {
        list = [feature].concat(list.filter(function (other) { return other !== feature; }));
      }
      var first = list.slice(0, FIRST);
      if (first.every(table.known)) show(text.trim(), list);
      else table.want(first).then(go).catch(fail);
    }
    if (needed.every(table.piece) && (!number || table.known(feature))) {
      go();
      return;
    }
    answer.textContent = "Looking for “" + text.trim() + "”…";
    Promise.all(needed.map(table.ask).concat(number ? table.want([feature]) : [])).then(go).catch(fail);
  }
  document.addEventListener("DOMContentLoaded", function () {
    var text = new URLSearchParams(location.search).get("q") || "";
    box.value = text;
    search(text);
    box.addEventListener("input", function () { search(box.value); });
    if (!text) box.focus();
  });
  // All names, once the page is there and has nothing to do: then every key is answered at once.
  window.addEventListener("load", function () {
    (window.requestIdleCallback || setTimeout)(function () { table.all().catch(fail); });
  });
})();
