"""What tests share: synthetic runs, torch-free workers and graders, servers of one's own."""
