//! The life of a withdrawal, case by case and at random.
