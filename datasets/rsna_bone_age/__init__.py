"""The RSNA 2017 bone age radiographs as RSNA and Kaggle hand them out."""
