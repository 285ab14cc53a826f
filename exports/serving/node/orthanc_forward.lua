-- Sends each radiograph that Orthanc receives to the node "boneage" (DicomModalities), as a job in
-- the background. Results of the node are not sent back to it.
function OnStoredInstance(instanceId, tags, metadata, origin)
  local modality = tags['Modality']
  local is_own = string.find(tags['Manufacturer'] or '', 'bone_age_tf', 1, true)
  if (modality == 'CR' or modality == 'DX') and not is_own then
    RestApiPost('/modalities/boneage/store',
                DumpJson({Resources = {instanceId}, Asynchronous = true}, false))
  end
end
