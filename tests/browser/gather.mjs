// Gathers candidates as the Trickle ICE page does. Argument: {"iceServers": [...], "milliseconds": 20000}.
// Result: {candidates: [{type, address, port, relatedAddress, relatedPort, protocol}], errors: [{code, text, url}], complete}.
import { inPage } from './lib.mjs';

await inPage(async ({ iceServers, milliseconds }) => {
  const connection = new RTCPeerConnection({ iceServers, iceTransportPolicy: 'all', iceCandidatePoolSize: 0 });
  const candidates = [];
  const errors = [];
  connection.onicecandidateerror = (event) =>
    errors.push({ code: event.errorCode, text: event.errorText, url: event.url });
  const finished = new Promise((resolve) => {
    setTimeout(() => resolve(false), milliseconds);
    connection.onicecandidate = ({ candidate }) => {
      if (candidate === null) {
        resolve(true);
      } else if (candidate.candidate !== '') {
        const { type, address, port, relatedAddress, relatedPort, protocol } = candidate;
        candidates.push({ type, address, port, relatedAddress, relatedPort, protocol });
      }
    };
  });
  await connection.setLocalDescription(await connection.createOffer({ offerToReceiveAudio: true }));
  const complete = await finished;
  connection.close();
  return { candidates, errors, complete };
});
