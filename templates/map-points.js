// All points of the map at once, pixel by pixel: a path for each would take many frames.
"use strict";
(function () {
  // What a point covers: steps from its middle in a picture's pixels, and how much of each, of 256.
  function stampOf(radius, across, most) {
    var reach = Math.ceil(radius), steps = [], shares = [];
    for (var row = -reach; row <= reach; row++) {
      for (var column = -reach; column <= reach; column++) {
        var share = Math.round(most * Math.max(0, Math.min(1, radius + 0.5 - Math.hypot(row, column))));
        if (!share) continue;
        steps.push(row * across + column);
        shares.push(share);
      }
    }
    return { reach: reach, steps: Int32Array.from(steps), shares: Int32Array.from(shares) };
  }
  // Red, green and blue of a color written as #rrggbb or #rgb.
  function channels(color) {
    var digits = color.trim().slice(1), each = digits.length / 3;
    return [0, 1, 2].map(function (k) { return parseInt(digits.substr(k * each, each).padStart(2, digits[k]), 16); });
  }
  window.atlasChannels = channels;
  window.atlasPoints = function (pen) {
    var cover = new Uint8Array(0), pixels = null, shades = null, paper = [255, 255, 255];
    return {
      resize: function (across, down) {
        cover = new Uint8Array(across * down);
        pixels = new ImageData(across, down);
      },
      // Every step from paper to ink.
      ink: function (from, to) {
        paper = channels(from);
        var last = channels(to);
        shades = new Uint32Array(256).map(function (_, held) {
          return paper.reduce(function (color, level, k) {
            return color | (Math.round(level + (last[k] - level) * held / 255) << (8 * k));
          }, 255 << 24);
        });
      },
      // Points in ink, the denser the darker. points holds x and y of n of them, in pixels of the picture.
      draw: function (points, n, radius, most) {
        var across = pixels.width, down = pixels.height, stamp = stampOf(radius, across, most);
        var reach = stamp.reach, steps = stamp.steps, shares = stamp.shares;
        cover.fill(0);
        for (var k = 0; k < 2 * n; k += 2) {
          var x = Math.round(points[k]), y = Math.round(points[k + 1]), middle = y * across + x;
          if (x < reach || y < reach || x + reach >= across || y + reach >= down) continue;
          for (var s = 0; s < steps.length; s++) {
            var p = middle + steps[s], held = cover[p];
            cover[p] = held + (((255 - held) * shares[s]) >> 8);
          }
        }
        var colored = new Uint32Array(pixels.data.buffer);
        for (var i = 0; i < cover.length; i++) colored[i] = shades[cover[i]];
        pen.putImageData(pixels, 0, 0);
      },
      // Points in colors, the later over the earlier. colors holds the color of each as three channels.
      paint: function (points, n, radius, colors) {
        var across = pixels.width, down = pixels.height, stamp = stampOf(radius, across, 230), bytes = pixels.data;
        var reach = stamp.reach, steps = stamp.steps, shares = stamp.shares;
        new Uint32Array(bytes.buffer).fill(shades[0]);
        for (var k = 0; k < n; k++) {
          var x = Math.round(points[2 * k]), y = Math.round(points[2 * k + 1]), middle = y * across + x;
          if (x < reach || y < reach || x + reach >= across || y + reach >= down) continue;
          for (var s = 0; s < steps.length; s++) {
            var p = 4 * (middle + steps[s]), share = shares[s];
            for (var c = 0; c < 3; c++) bytes[p + c] += ((colors[3 * k + c] - bytes[p + c]) * share) >> 8;
          }
        }
        pen.putImageData(pixels, 0, 0);
      },
    };
  };
})();
