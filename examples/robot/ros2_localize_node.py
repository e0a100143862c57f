"""A ROS 2 node that localises camera images in a map and publishes poses with covariance.

NOT RUN: written from the documented interfaces of rclpy, sensor_msgs and geometry_msgs; no ROS was at hand to run it.

    ros2 run --prefix python3 ... or: python3 ros2_localize_node.py --ros-args -p url:=http://127.0.0.1:8000 -p map_id:=map_…

Subscribes `image/compressed` (sensor_msgs/CompressedImage, JPEG), `camera_info` (sensor_msgs/CameraInfo) and, if there is any,
`odom_pose` (geometry_msgs/PoseStamped, camera in the map's frame) as prior. Publishes `pose`
(geometry_msgs/PoseWithCovarianceStamped) in frame `map`. One query is in work at a time; images that come meanwhile are dropped,
the newest one excepted. Needs rclpy and its messages, nothing else. The query runs in a thread, so callbacks go on.

Axes: the service answers the pose of the camera's OPTICAL frame (x right, y down, z forward; REP 103's `_optical`). Covariance:
the service's is (translation, rotation vector) perturbing from the left in the map's frame; ROS wants (x, y, z, about x, about y,
about z) of the pose itself. The rotations agree; the position's errors are carried over below.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.parse
import urllib.request

import rclpy
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage


class LocalizeNode(Node):
    """Image in, pose out."""

    def __init__(self) -> None:
        super().__init__("m3r_localize")
        self.url = self.declare_parameter("url", "http://127.0.0.1:8000").value
        self.map_id = self.declare_parameter("map_id", "").value
        self.key = self.declare_parameter("key", "").value
        self.deadline_ms = self.declare_parameter("deadline_ms", 1500).value
        self.radius = self.declare_parameter("prior_radius", 2.0).value
        self.frame = self.declare_parameter("frame", "map").value
        self.camera: CameraInfo | None = None
        self.prior: PoseStamped | None = None
        self.newest: CompressedImage | None = None
        self.wake = threading.Condition()
        self.publisher = self.create_publisher(PoseWithCovarianceStamped, "pose", 10)
        self.create_subscription(CompressedImage, "image/compressed", self.on_image, qos_profile_sensor_data)
        self.create_subscription(CameraInfo, "camera_info", self.on_camera, qos_profile_sensor_data)
        self.create_subscription(PoseStamped, "odom_pose", self.on_prior, 10)
        threading.Thread(target=self.work, daemon=True).start()

    def on_image(self, message: CompressedImage) -> None:
        """Keep the newest image; one that nobody took is replaced."""
        with self.wake:
            self.newest = message
            self.wake.notify()

    def on_camera(self, message: CameraInfo) -> None:
        """Remember the camera. Images must be rectified: the service knows no distortion."""
        self.camera = message

    def on_prior(self, message: PoseStamped) -> None:
        """Remember where odometry thinks the camera is."""
        self.prior = message

    def work(self) -> None:
        """Localise the newest image, for ever."""
        while rclpy.ok():
            with self.wake:
                while self.newest is None:
                    self.wake.wait()
                image, self.newest = self.newest, None
            try:
                answer = self.ask(bytes(image.data))
            except urllib.error.HTTPError as error:
                problem = json.loads(error.read() or b"{}")
                self.get_logger().warning(f"{error.code} {problem.get('code')}: {problem.get('detail')}")
            except OSError as error:
                self.get_logger().warning(f"the service is not reached: {error}")
            else:
                self.publish(answer, image)

    def ask(self, image: bytes) -> dict:
        """One query: the bare JPEG, everything else in the URL."""
        parameters: dict[str, float] = {"deadline_ms": self.deadline_ms}
        if self.camera is not None:
            k = self.camera.k  # row by row: fx 0 cx 0 fy cy 0 0 1
            parameters |= {"fx": k[0], "fy": k[4], "cx": k[2], "cy": k[5]}
            parameters |= {"width": self.camera.width, "height": self.camera.height}
        if self.prior is not None:
            p = self.prior.pose.position
            parameters |= {"x": p.x, "y": p.y, "z": p.z, "radius": self.radius}
        url = f"{self.url}/v1/maps/{self.map_id}/localize?{urllib.parse.urlencode(parameters)}"
        headers = {"Content-Type": "image/jpeg", **({"Authorization": f"Bearer {self.key}"} if self.key else {})}
        request = urllib.request.Request(url, data=image, headers=headers)
        with urllib.request.urlopen(request, timeout=self.deadline_ms / 1000 + 1) as response:
            return json.load(response)

    def publish(self, answer: dict, image: CompressedImage) -> None:
        """Publish a pose at the time of its image."""
        if not answer["localized"]:
            self.get_logger().info(f"not localised: {answer['reason']}")
            return
        message = PoseWithCovarianceStamped()
        message.header.stamp = image.header.stamp
        message.header.frame_id = self.frame
        pose, out = answer["pose"], message.pose.pose
        out.position.x, out.position.y, out.position.z = pose["position"]
        out.orientation.w, out.orientation.x, out.orientation.y, out.orientation.z = pose["quaternion"]
        rows = of_the_pose(answer["confidence"]["covariance"], pose["position"])
        message.pose.covariance = [value for row in rows for value in row]
        self.publisher.publish(message)


def of_the_pose(covariance: list[list[float]], position: list[float]) -> list[list[float]]:
    """J C J^T with J = [I, -[p]x; 0, I]: a rotation about the map's origin moves a camera that is far from it."""
    x, y, z = position
    J = [[float(i == j) for j in range(6)] for i in range(6)]
    J[0][4], J[0][5], J[1][3], J[1][5], J[2][3], J[2][4] = z, -y, -z, x, y, -x
    half = [[sum(J[i][k] * covariance[k][j] for k in range(6)) for j in range(6)] for i in range(6)]
    return [[sum(half[i][k] * J[j][k] for k in range(6)) for j in range(6)] for i in range(6)]


def main() -> None:
    """Spin until the end."""
    rclpy.init()
    node = LocalizeNode()
    try:
        rclpy.spin(node)
    finally:
        node.destroy_node()


if __name__ == "__main__":
    main()
