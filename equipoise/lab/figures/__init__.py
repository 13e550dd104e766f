"""The figures of the report. Every module here needs the extra `lab`, which is matplotlib."""
