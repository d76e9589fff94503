"""What demo and doctor share: generated exams, a PACS, and what came back of them."""
