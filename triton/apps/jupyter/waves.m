% One plot and one number; MATLAB and Octave both run it.
x = linspace(0, 2 * pi);
figure("visible", "off");
plot(x, sin(x));
print("-dsvg", "waves.svg");
fprintf("%.4f\n", trapz(x, sin(x) .^ 2));
