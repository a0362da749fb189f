"""`python -m companion.batch figures --profile smoke --cores 2 --seeds "0 1"`: see companion.batch.starter."""

import sys

try:
    from companion.batch.starter import main  # takes seconds

    main()
except KeyboardInterrupt:
    sys.exit("\nStopped. The same command goes on where this stopped.")
