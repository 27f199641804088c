"""What a person writes, checked once and then values: functions, tasks, inputs. Knows no platform."""
