"""`python -m companion.batch figures --profile smoke --cores 2 --seeds "0 1"`: see companion.batch.starter."""

from companion.batch.starter import main

main()
