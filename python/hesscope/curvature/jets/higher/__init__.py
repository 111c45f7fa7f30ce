"""Coefficients of second and third order through captured graphs."""
