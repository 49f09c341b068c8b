# What the notebook on R says of its functions, printed.
cat(diff(c(1, 4, 9)), "\n")
cat(format(as.Date("2026-06-21"), "%m"), (1:3)[-1], "\n")
cat(tapply(c(1, 3, 5), c("a", "a", "b"), mean), "\n")
refused <- try(tapply(1:3, 1:2, mean), silent = TRUE)
cat(inherits(refused, "try-error"), which.max(c(2, 9, 4)), "\n")
