"""Files that `marnet export` wrote, in place of a run; nothing here needs torch but the files for torch.export."""
