// Answers to the sheet of names, kept in this browser and saved as a file: see atlas/lookup/judge_names.py.
"use strict";
(function () {
  var key = "judge " + document.body.dataset.id, fields = document.querySelectorAll("fieldset");
  var answers = {};
  try { answers = JSON.parse(localStorage.getItem(key)) || {}; } catch (error) { answers = {}; }
  function count() { document.getElementById("n").textContent = Object.keys(answers).length + " of " + fields.length + " answered"; }
  fields.forEach(function (field) {
    var kept = field.querySelector('input[value="' + answers[field.dataset.feature] + '"]');
    if (kept) kept.checked = true;
  });
  document.addEventListener("change", function (event) {
    answers[event.target.closest("fieldset").dataset.feature] = Number(event.target.value);
    try { localStorage.setItem(key, JSON.stringify(answers)); } catch (error) { /* kept on the page alone */ }
    count();
  });
  document.getElementById("save").addEventListener("click", function () {
    var link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify({ id: document.body.dataset.id, answers: answers })], { type: "application/json" }));
    link.download = "answers.json";
    link.click();
  });
  count();
})();
