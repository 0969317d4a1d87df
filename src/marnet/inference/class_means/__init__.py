"""Where classes lie among image features, by their images and by what their texts lead to."""
