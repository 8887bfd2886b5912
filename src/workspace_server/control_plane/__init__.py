"""What a hosted tenant's server asks of its control plane; the only user of that protocol."""
