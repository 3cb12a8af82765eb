"""Graph rewrites, one a file, each with the contract of `compiler.passes.base`."""
