"""Scene graphs as files.

graph.json       our own, read back by the other commands: rooms → objects, relations; reads without documentation
graph.dsg.json   Spark-DSG, what robots' planners open (https://github.com/MIT-SPARK/Spark-DSG)
graph.graphml    GraphML, what programs that draw and analyse graphs open (http://graphml.graphdrawing.org)

Places and directions are in the frame of the capture, as it came.
"""
