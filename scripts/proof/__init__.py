"""The long proof: everything that shows the promises, too long for every change. Knows no part but by its command."""
