"""What people look at: heatmap colours, panels, contact sheets, curves, SVG and pages."""
