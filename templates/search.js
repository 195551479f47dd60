// Search over the words of names and captions, and by meaning over lists made with the atlas.
// Lists come as scripts, by how words begin, when they are asked for: see table.js. Same rules as
// atlas/site/search_index.py, atlas/base/text.py and atlas/study/meanings.py. In a key's own task only what
// changed among the first results is drawn, of what is here; all else waits until it is painted.
"use strict";
(function () {
  var page = document.getElementById("results");
  var root = page.dataset.root;
  var answer = document.getElementById("answer");
  var found = document.getElementById("found");
  var start = document.getElementById("start");
  var box = document.getElementById("find");
  var meant = document.getElementById("meant");
  var SHOWN = 60, FIRST = 8, JUDGED = 16, MEANT_SHOWN = 24, UNFINISHED = 0.05, NAMED = 1000, HELD = 100, CAPTIONS = 9, SURE = 5 * HELD;
  var PAUSE_MS = 150; // who types on does not wait for what lies below the first results
  var WORDS_KEPT = 16;
  var STOP_WORDS = ["a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or", "the", "to", "with"];
  var table = window.atlasTable;

  // As atlas/base/text.py: compatibility forms composed, lower case, straight apostrophes.
  function wordsOf(text) {
    return text.normalize("NFKC").toLowerCase().replace(/\u2019/g, "'").match(/[\p{L}\p{N}]+(?:'[\p{L}\p{N}]+)?/gu) || [];
  }
  function saidIn(text) {
    return wordsOf(text).filter(function (word) { return !STOP_WORDS.includes(word); });
  }
  // A word of the vocabulary, or what it may be a plural of.
  function forms(word) {
    return [word, word.replace(/s$/, ""), word.replace(/es$/, ""), word.replace(/ies$/, "") + "y"];
  }
  // The features of one word: those of every known word that begins with it, the exact one first.
  // They are kept, as most keys leave all words but the last as they are.
  var scored = new Map();
  function matches(word) {
    if (scored.has(word)) return scored.get(word);
    var scores = new Map(), piece = table.piece(word);
    function add(pairs, weight) {
      for (var i = 0; i < pairs.length; i += 2) {
        scores.set(pairs[i], Math.max(scores.get(pairs[i]) || 0, weight * pairs[i + 1]));
      }
    }
    if (piece.begins) {
      if (piece.prefix === word) add(piece.begins, 1);
    } else {
      Object.keys(piece.words).forEach(function (key) {
        if (key.startsWith(word)) add(piece.words[key], key === word || key === word + "s" ? 1 : UNFINISHED);
      });
    }
    if (scored.size >= WORDS_KEPT) scored.clear();
    scored.set(word, scores);
    return scores;
  }
  // The best of [feature, score], in order; only what may be among them is sorted.
  function best(entries, n) {
    function order(a, b) { return b[1] - a[1] || a[0] - b[0]; }
    var held = [], last = null;
    entries.forEach(function (entry) {
      if (last && order(entry, last) > 0) return;
      held.push(entry);
      if (held.length < 4 * n) return;
      held = held.sort(order).slice(0, n);
      last = held[n - 1];
    });
    return held.sort(order).slice(0, n).map(function (entry) { return entry[0]; });
  }
  // A feature counts as much as the word that it knows least; where nothing knows all, any will do.
  function rank(each) {
    var sum = new Map(), least = new Map();
    each.forEach(function (scores) {
      scores.forEach(function (score, feature) { sum.set(feature, (sum.get(feature) || 0) + score); });
    });
    sum.forEach(function (total, feature) {
      least.set(feature, Math.min.apply(null, each.map(function (scores) { return scores.get(feature) || 0; })));
    });
    var any = Array.from(sum.keys()), all = any.filter(function (feature) { return least.get(feature) > 0; });
    var chosen = (all.length ? all : any).map(function (feature) { return [feature, least.get(feature) + sum.get(feature) / (1e4 * each.length)]; });
    return { list: best(chosen, SHOWN), n: chosen.length, has: function (feature) { return sum.has(feature); }, least: least, words: each.length };
  }
  // Why a feature is here, from its weight: see word_weights in atlas/site/search_index.py.
  function why(ranked, feature) {
    var weight = ranked.least.get(feature) || 0, n = Math.floor(weight % NAMED / HELD);
    var captions = n ? (ranked.words > 1 ? "each word in " : "in ") + n + " of " + CAPTIONS + " captions" : "";
    return [weight >= NAMED ? "by name" : "", captions].filter(Boolean).join(", ");
  }
  function listOf(entry) {
    var known = table.piece(entry.split(" ")[0]).meanings;
    return Object.hasOwn(known, entry) ? known[entry] : null;
  }
  // What is typed last may be unfinished: then the shortest word that begins so.
  function finished(word) {
    if (word.length < 3) return undefined;
    return Object.keys(table.piece(word).meanings).reduce(function (least, entry) {
      if (!entry.startsWith(word) || entry.includes(" ")) return least;
      return least === undefined || entry.length < least.length || (entry.length === least.length && entry < least) ? entry : least;
    }, undefined);
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
    return best(Array.from(total), MEANT_SHOWN);
  }
  // A tile says the number at once, and the rest as soon as its row is here. Its parts stay and show
  // one feature after another: new ones would cost a slow machine more time than a key has.
  function tile() {
    var parts = { item: document.createElement("li"), link: document.createElement("a"), frame: document.createElement("span"), name: document.createElement("span"), more: document.createElement("b"), why: document.createElement("small"), feature: -1, place: -1, pictured: -1 };
    parts.frame.className = "frame";
    parts.name.className = "clamp";
    parts.link.append(parts.frame, parts.name, parts.more, parts.why);
    return parts;
  }
  function fill(parts, feature, reason) {
    var place = table.place(feature);
    if (parts.why.textContent !== reason) parts.why.textContent = reason;
    if (parts.feature === feature && parts.place === place) return;
    parts.feature = feature;
    parts.place = place;
    if (place < 0) {
      var blank = document.createElement("span"), number = document.createElement("b");
      blank.className = "hidden-picture";
      number.textContent = feature;
      parts.item.replaceChildren(blank, number);
      return;
    }
    parts.link.href = atlasPage(root, table, feature);
    parts.name.textContent = table.name[place] || "no name";
    parts.more.textContent = feature + " · " + (100 * table.density[place]).toPrecision(3) + "%";
    if (parts.pictured !== place && parts.frame.firstChild) parts.frame.firstChild.remove();
    parts.frame.hidden = false;
    if (parts.link.parentNode !== parts.item) parts.item.replaceChildren(parts.link);
  }
  // Its picture comes once the words are painted.
  function picture(parts) {
    if (parts.place < 0 || parts.frame.hidden || (parts.pictured === parts.place && parts.frame.firstChild)) return;
    parts.pictured = parts.place;
    if (table.icon[parts.place] !== -1) {
      parts.frame.replaceChildren(atlasImage(root, table, parts.place));
      return;
    }
    var words = document.createElement("span");
    words.className = "hidden-picture stand-in";
    words.textContent = parts.feature;
    parts.frame.replaceChildren(words);
  }
  // A list of tiles that shows exactly the features it is given; what stays in its place is left alone.
  function shelf(holder, reason) {
    var tiles = [], shown = [];
    function put(list) {
      shown = list;
      var n = 0;
      list.forEach(function (feature) {
        if (table.known(feature) && table.place(feature) < 0) return;
        if (n === tiles.length) tiles.push(tile());
        fill(tiles[n], feature, reason(feature));
        if (n >= holder.children.length) holder.append(tiles[n].item);
        n += 1;
      });
      while (holder.children.length > n) holder.lastElementChild.remove();
      if (list.length) table.want(list).catch(fail);
    }
    function draw() { tiles.slice(0, holder.children.length).forEach(picture); }
    table.onrows(function () {
      var late = tiles.slice(0, holder.children.length).some(function (parts) { return parts.place < 0 && table.known(parts.feature); });
      if (!late) return;
      put(shown);
      draw();
    });
    return { put: put, draw: draw };
  }
  var answered = rank([]);
  var foundList = shelf(found, function (feature) { return why(answered, feature); });
  var meantList = shelf(meant.querySelector("ul"), function () { return "near in meaning"; });
  // Work that may wait: a piece at a time, once a key's results are painted and no other key follows.
  function idle(work) {
    if (window.requestIdleCallback) requestIdleCallback(work, { timeout: 2 * PAUSE_MS });
    else setTimeout(work);
  }
  function later(jobs) {
    var turn = asked;
    function next() {
      if (turn !== asked || !jobs.length) return;
      jobs.shift()();
      idle(next);
    }
    requestAnimationFrame(function () {
      setTimeout(function () {
        if (turn !== asked) return;
        foundList.draw();
        meantList.draw();
        setTimeout(next, PAUSE_MS);
      });
    });
  }
  // Jobs that let a list grow to its whole length.
  function growing(shelf, list) {
    var jobs = [];
    for (var n = FIRST; n < list.length + FIRST; n += FIRST) jobs.push(grow.bind(null, n));
    function grow(n) {
      shelf.put(list.slice(0, n));
      shelf.draw();
    }
    return jobs;
  }
  function showMeant(text, entries, list) {
    meant.hidden = false;
    meantList.put(list.slice(0, FIRST));
    document.getElementById("meantwords").textContent = entries.map(function (entry) { return "“" + entry + "”"; }).join(" and ");
    document.getElementById("exactly").textContent = 'atlas search "' + text.replace(/["$`\\]/g, "") + '"';
  }
  function hideMeant() {
    meant.hidden = true;
    meantList.put([]);
  }
  // Names and captions come first where they say enough; else meaning does.
  function borneOut(list, feature) {
    return list.some(function (other) { return other === feature || (answered.least.get(other) || 0) >= SURE; });
  }
  function say(text, n, entries) {
    if (n) {
      answer.textContent = n + (n === 1 ? " feature" : " features") + " named or captioned “" + text + "”" +
        (n > SHOWN ? "; the best " + SHOWN + ":" : ":");
    } else {
      answer.textContent = "Nothing is named or captioned “" + text + "”. " +
        (entries.length ? "What lies near it in meaning:" : "Try a single, plainer word, or choose from the names.");
    }
    answer.removeAttribute("aria-busy");
  }
  // A key is answered with the first row of pictures; the rest is added once these are painted.
  function show(text, list, n, entries, feature) {
    var captioned = entries.length > 0 && !borneOut(list.slice(0, JUDGED), feature);
    var close = entries.length ? near(entries) : [];
    start.hidden = n > 0 || entries.length > 0;
    say(text, n, entries);
    if (captioned) {
      if (answer.previousElementSibling !== meant) answer.before(meant);
      showMeant(text, entries, close);
      foundList.put([]);
      later(growing(meantList, close).concat(growing(foundList, list)));
    } else {
      if (found.nextElementSibling !== meant) found.after(meant);
      foundList.put(list.slice(0, FIRST));
      hideMeant();
      var last = entries.length ? [showMeant.bind(null, text, entries, close)].concat(growing(meantList, close)) : [];
      later(growing(foundList, list).concat(last));
    }
  }
  // What is known before the lists are here: the first results, but neither how many nor what is meant.
  function glimpse(text, list) {
    answer.setAttribute("aria-busy", "true");
    if (!list.length) {
      answer.textContent = "Looking for “" + text + "”…";
      return;
    }
    answer.textContent = "The first that are named or captioned “" + text + "”…";
    start.hidden = true;
    foundList.put(list.slice(0, FIRST));
    hideMeant();
  }
  // Of several words the last is the one being typed: until its list is here, names tell.
  function named(query) {
    var known = query.slice(0, -1), last = query[query.length - 1];
    if (!known.every(table.piece)) return [];
    answered = rank(known.map(matches));
    return answered.list.filter(function (feature) {
      var i = table.place(feature);
      return i >= 0 && wordsOf(table.name[i]).some(function (word) { return word.startsWith(last); });
    });
  }
  function fail(error) { answer.textContent = "Something is missing: " + error.message + ". Reload the page to try again."; }
  var asked = 0, invitation = answer.textContent;
  function search(text) {
    var turn = ++asked, query = wordsOf(text);
    if (!query.length) {
      answer.textContent = invitation;
      answer.removeAttribute("aria-busy");
      foundList.put([]);
      hideMeant();
      start.hidden = false;
      return;
    }
    var needed = query.concat.apply(query, saidIn(text).map(forms));
    var number = text.trim().match(/^f?(\d+)$/), feature = number ? Number(number[1]) : -1;
    text = text.trim();
    // Whoever types a number means that feature first.
    function numberFirst(list) {
      if (table.place(feature) < 0) return list;
      return [feature].concat(list.filter(function (other) { return other !== feature; }));
    }
    function go() {
      if (turn !== asked) return;
      var ranked = answered = rank(query.map(matches)), list = numberFirst(ranked.list).slice(0, SHOWN);
      var n = ranked.n + (table.place(feature) >= 0 && !ranked.has(feature) ? 1 : 0);
      var entries = entriesOf(text), first = list.slice(0, entries.length ? JUDGED : FIRST);
      if (first.every(table.known)) {
        show(text, list, n, entries, feature);
      } else {
        glimpse(text, list);
        table.want(first).then(go).catch(fail);
      }
    }
    if (needed.every(table.piece) && (!number || table.known(feature))) {
      go();
      return;
    }
    glimpse(text, numberFirst(query.length > 1 ? named(query) : table.ahead(query[0])));
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
    idle(function () { table.all().catch(fail); });
  });
})();
