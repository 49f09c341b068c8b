"""Print how the hub counts login attempts. It runs in the folder of the hub's configuration."""

import time

import authenticator

attempts = authenticator.Attempts(2, 1)
for _ in range(2):
    attempts.add("a")
print(attempts.wait("a"), attempts.wait("b"))
time.sleep(1.1)
print(attempts.wait("a"))
for number in range(50_000):
    attempts.add((number % 99, str(number)))
print(len(attempts._times))
print(authenticator.network("2001:db8::1:2"), authenticator.network("::ffff:10.1.2.3"))
