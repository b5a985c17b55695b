// Two peer connections that may use nothing but relays exchange messages and video.
// Argument: {"iceServers": [...], "messages": 200, "frames": 60, "milliseconds": 60000}.
// Result: {received: [numbers, in order], framesDecoded, pairs: [{local, remote}], errors, finished}.
import { inPage } from './lib.mjs';

await inPage(async ({ iceServers, messages, frames, milliseconds }) => {
  const configuration = { iceServers, iceTransportPolicy: 'relay' };
  const caller = new RTCPeerConnection(configuration);
  const callee = new RTCPeerConnection(configuration);
  const errors = [];
  for (const [from, to] of [[caller, callee], [callee, caller]]) {
    from.onicecandidate = ({ candidate }) => candidate && to.addIceCandidate(candidate);
    from.onicecandidateerror = (event) => errors.push({ code: event.errorCode, text: event.errorText, url: event.url });
  }

  const canvas = Object.assign(document.createElement('canvas'), { width: 640, height: 360 });
  document.body.append(canvas);
  const brush = canvas.getContext('2d');
  let painted = 0;
  const painter = setInterval(() => {
    painted += 1;
    brush.fillStyle = `hsl(${(painted * 7) % 360} 80% 50%)`;
    brush.fillRect(0, 0, 640, 360);
    brush.fillStyle = '#000';
    brush.fillRect((painted * 11) % 600, (painted * 5) % 320, 40, 40);
  }, 33);
  const stream = canvas.captureStream(30);
  for (const track of stream.getTracks()) {
    caller.addTrack(track, stream);
  }

  const sender = caller.createDataChannel('messages', { ordered: true });
  const received = [];
  callee.ondatachannel = ({ channel }) => {
    channel.onmessage = ({ data }) => received.push(Number(data.split(' ')[0]));
  };
  sender.onopen = () => {
    for (let number = 0; number < messages; number += 1) {
      sender.send(`${number} ${'x'.repeat(number * 5)}`);
    }
  };
  const video = Object.assign(document.createElement('video'), { muted: true, autoplay: true });
  document.body.append(video);
  callee.ontrack = ({ streams }) => {
    video.srcObject = streams[0];
  };

  await caller.setLocalDescription();
  await callee.setRemoteDescription(caller.localDescription);
  await callee.setLocalDescription();
  await caller.setRemoteDescription(callee.localDescription);

  const decoded = async () => {
    for (const report of (await callee.getStats()).values()) {
      if (report.type === 'inbound-rtp' && report.kind === 'video') {
        return report.framesDecoded ?? 0;
      }
    }
    return 0;
  };
  const deadline = performance.now() + milliseconds;
  let framesDecoded = 0;
  while (performance.now() < deadline && (framesDecoded < frames || received.length < messages)) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    framesDecoded = await decoded();
  }
  const pairs = [];
  for (const connection of [caller, callee]) {
    const reports = await connection.getStats();
    for (const report of reports.values()) {
      if (report.type === 'candidate-pair' && report.nominated) {
        pairs.push({
          local: reports.get(report.localCandidateId).candidateType,
          remote: reports.get(report.remoteCandidateId).candidateType,
        });
      }
    }
  }
  clearInterval(painter);
  const finished = framesDecoded >= frames && received.length >= messages;
  caller.close();
  callee.close();
  return { received, framesDecoded, pairs, errors, finished };
});
