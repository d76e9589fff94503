"""Collections as they are published -> tables of labelled images, as a CSV file would be one."""
