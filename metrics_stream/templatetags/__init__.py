"""What templates may ask, where no view could tell them: headers are on pages of Django's, too."""
