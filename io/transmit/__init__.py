"""The sending side of ports: packets that leave a path go to a socket, a file or memory."""
