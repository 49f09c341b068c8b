help([[A small module for examples.]])
whatis("Demo: sets DEMO_GREETING")
setenv("DEMO_GREETING", "Hello from the demo module")
