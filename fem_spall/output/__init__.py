"""What a run writes: fields, record, pictures, report."""
