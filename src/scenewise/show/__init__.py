"""What a person looks at: colours, pictures, charts, the report, the viewer."""
