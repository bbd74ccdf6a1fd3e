"""The proof on trial: Holdfast with one thing broken on purpose, each of which the checks must see.

A mutant is a rewriting of source or SQL in a copy of the tree, which is made for it inside the test image; the checks
run on the copy. So nothing in the application can select one, not even by accident: no variable, no branch, no module
of it knows that there are mutants, and the application's image leaves `tests/` behind. A rewriting that no longer finds
what it rewrites, exactly once, is an error, and so is a mutant that does not run.

To add one: an entry in `catalogue`, with the promise that it breaks and the checks that are to see it, then
`make mutants ONLY=its-name`. One that survives is a hole in the proof: write the check first.

No mutant releases a lock without its token: there is no such lock. What two workers may not both do is decided by the
fence of the finish, which has mutants of its own.
"""
