"""Everything that made `mistral-tiny`: data generator, tokenizer, trainer, export and scores."""
