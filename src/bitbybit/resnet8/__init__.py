"""The real thing: MLPerf Tiny's ResNet8 as it is committed, its images, its proof."""
