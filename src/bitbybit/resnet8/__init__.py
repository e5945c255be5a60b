"""The real thing: MLPerf Tiny's ResNet8, its data, training, export and evaluation."""
