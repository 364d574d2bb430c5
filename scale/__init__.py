"""What digitnet needs and withstands on many processes: shards to try it on, a simulation, measurements and kills."""
