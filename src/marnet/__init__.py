"""MARNet"""
