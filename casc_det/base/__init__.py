"""What every room uses: files, arguments, threads, the terminal."""
