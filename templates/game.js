// Which of two icons belongs to nine pictures? Without scripts the first round stands with its answer.
"use strict";
(function () {
  var room = document.getElementById("game"), root = room.dataset.root;
  var nine = room.querySelectorAll(".nine img"), sides = room.querySelectorAll(".pair a");
  var answer = room.querySelector(".answer");
  var rounds = [], at = 0, right = 0, asked = 0, open = true;

  window.atlasRounds = function (given) { rounds = given; };

  var next = document.createElement("button");
  next.type = "button";
  next.className = "copy";
  next.textContent = "next";
  function link(round, side) {
    var found = document.createElement("a");
    found.href = root + "/" + round.pages[side];
    found.textContent = round.names[side];
    return found;
  }
  function ask() {
    var round = rounds[at];
    open = true;
    round.pictures.forEach(function (address, i) { nine[i].src = atlasPicture(root, address); });
    sides.forEach(function (side, i) {
      side.className = "";
      side.href = root + "/" + round.pages[i];
      side.firstChild.src = atlasPicture(root, round.icons[i]);
    });
    answer.textContent = asked ? "Round " + (at + 1) + " of " + rounds.length + "." : "";
  }
  function judge(chosen) {
    var round = rounds[at];
    open = false;
    asked += 1;
    right += chosen === round.right ? 1 : 0;
    sides[round.right].className = "right-one";
    answer.replaceChildren(
      chosen === round.right ? "Right: " : "No: it is ", link(round, round.right),
      ", round trip " + round.verdict + ". You have " + right + " of " + asked + ". "
    );
    if (at + 1 < rounds.length) answer.append(next);
  }
  sides.forEach(function (side, i) {
    side.addEventListener("click", function (event) {
      if (!open) return; // the second click opens the page
      event.preventDefault();
      judge(i);
    });
  });
  next.addEventListener("click", function () { at += 1; ask(); sides[0].focus(); });
  document.addEventListener("DOMContentLoaded", function () { if (rounds.length) ask(); });
})();
